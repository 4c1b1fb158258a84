"""Walks through a grammar by its definition alone: all answers of a small one, one random answer of any."""

from protscribe.grammar import allowed


def every_answer(grammar):
    """Every complete answer, found by following ``allowed``; fails on a dead end, a repeated token, an answer too long."""
    found, histories = [], [()]
    while histories:
        history = histories.pop()
        tokens, end = allowed(grammar, history)
        assert tokens or end, f"dead end after {history}"
        assert len(set(tokens)) == len(tokens), f"a token is offered twice after {history}"
        assert len(history) <= grammar.longest, f"longer than {grammar.longest}: {history}"
        if end:
            found.append(history)
        histories += [(*history, token) for token in tokens]
    return found


def random_answer(grammar, chooser, ending=0.1):
    """One complete answer: random allowed tokens, ending with chance ``ending`` wherever that is allowed."""
    history = ()
    while True:
        tokens, end = allowed(grammar, history)
        assert tokens or end, f"dead end after {history}"
        if end and (not tokens or chooser.random() < ending):
            return history
        assert len(history) < grammar.longest, f"the walk goes on beyond {grammar.longest}"
        history = (*history, chooser.choice(tokens))
