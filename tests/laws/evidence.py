"""Evidence as a model would give it, computed exactly from a small distribution over answers."""

import math

import numpy as np

from protscribe.codecs.protocol import DigitTree, Draws, First, Greedy, Inclusion, Marginals


def domain_of(grammar):
    return grammar.domain.tokens()


def greedy_of(counts):
    """The most probable answer; ``counts`` maps token strings to whole numbers."""
    best = max(counts, key=lambda tokens: counts[tokens])
    return Greedy(best, math.log(counts[best] / sum(counts.values())))


def evidence_of(codec, record, counts):
    """What ``codec`` asks for, of the distribution proportional to ``counts`` over complete token strings."""
    grammar, total = codec.grammar(record), sum(counts.values())
    greedy = greedy_of(counts)
    asks = "marginals" if codec.dense and codec.asks == "inclusion" else codec.asks
    match asks:
        case "greedy":
            return greedy
        case "draws":
            return Draws(tuple(tokens for tokens, count in counts.items() for _ in range(count)), greedy)
        case "inclusion":
            domain = domain_of(grammar)
            share = np.array(
                [sum(c for tokens, c in counts.items() if token in tokens) for token in domain], float
            )
            return Inclusion(share / total, np.zeros(len(domain)), 1, greedy)
        case "first" | "marginals":
            ranks = {token: rank for rank, token in enumerate(domain_of(grammar))}
            table = np.zeros((grammar.longest, len(ranks)))
            for tokens, count in counts.items():
                table[np.arange(len(tokens)), [ranks[token] for token in tokens]] += count / total
            if asks != codec.asks:
                return codec.inclusion(Marginals(table))
            return First(table[0]) if asks == "first" else Marginals(table)
        case "digits":
            digits = {symbol: value for value, symbol in enumerate(grammar.digits.symbols)}
            table = np.zeros([len(digits)] * codec.places)
            for tokens, count in counts.items():
                table[tuple(digits[token] for token in tokens)] += count / total
            return DigitTree.of_leading(table, codec.most, codec.places)
    raise AssertionError(codec.asks)
