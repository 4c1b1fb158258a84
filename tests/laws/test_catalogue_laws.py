"""Laws 2, 3 and 5 over every shipped task: what the compiled grammars allow is what the interpreter allows, and it decodes."""

import random

import torch

from protscribe.catalogue import all_tasks
from protscribe.data.lexicon import Lexicon
from protscribe.generation.constraint import compile_grammars
from protscribe.grammar import accepts, allowed
from protscribe.records import ProteinRecord
from protscribe.vocabulary import EOS, Vocabulary

CELLS = {
    "category": ["a", "b", "c"],
    "category_set": [["a", "b"], ["c"], ["d", "e"]],
    "residue_labels": ["HEC"],
    "segments": ["aabbc"],
    "sequence": ["a b c"],
    "category_path": [["1.1.1.1"], ["1.1.1.2", "2.1.1.1"], ["2.1.3.10"]],
}
"""Labels for tasks that take theirs from training data."""
CHAINS = ("MKTAYISSYTAKHCDEWWNPGRQ", "MSTCKKLHYFNNDEE")


def filled_tasks():
    found = []
    for task in all_tasks().values():
        fields = {condition.field: ["x", "y"] for condition in task.conditions}
        found.append(task.fill(CELLS.get(task.codec.kind, []), fields))
    return found


def test_every_shipped_task_has_one_grammar_in_two_forms():
    tasks = filled_tasks()
    records = [
        ProteinRecord(task.name, CHAINS[: task.chains], molecule="CCO" if task.molecule else None)
        for task in tasks
    ]
    lexicon = Lexicon(Vocabulary.compose(block for task in tasks for block in task.blocks()))
    grammars = [task.codec.grammar(record) for task, record in zip(tasks, records, strict=True)]
    compiled = compile_grammars(grammars, lexicon, records, len(lexicon.vocabulary) + sum(map(len, CHAINS)))
    chooser = random.Random(1)
    for _ in range(4):
        histories, open_rows, registers = [[] for _ in tasks], set(range(len(tasks))), compiled.start()
        for _ in range(compiled.longest + 1):
            mask_BS = compiled.allowed(registers)
            chosen = [EOS] * len(tasks)
            for row in sorted(open_rows):
                following = allowed(grammars[row], histories[row])
                numbers = {lexicon.number(token, records[row]): token for token in following.tokens}
                wanted = set(numbers) | ({EOS} if following.end else set())
                assert set(mask_BS[row].nonzero().flatten().tolist()) == wanted, tasks[row].name
                chosen[row] = chooser.choice(sorted(wanted))
                if chosen[row] == EOS:
                    open_rows.discard(row)
                else:
                    histories[row].append(numbers[chosen[row]])
            registers = compiled.advance(registers, torch.tensor(chosen))
        assert not open_rows
        for task, record, history, grammar in zip(tasks, records, histories, grammars, strict=True):
            answer = task.codec.decode(tuple(history), record)
            assert accepts(grammar, task.codec.encode(answer, record).tokens), task.name
