"""A task that a model knows, asked for again: the same, longer, or another one."""

from dataclasses import replace

import pytest

from protscribe.codecs import KINDS
from protscribe.errors import TaskError
from protscribe.growth import APPENDED, added_labels, extend_task
from protscribe.task import Task


def made(name="where", conditions=(), **codec):
    plain = {"name": name, "title": "A title", "codec": codec, "conditions": list(conditions)}
    return Task.from_plain({**plain, "chains": codec.get("chain", 1)})


def again(known, asked, filled=None):
    return extend_task(known, asked, filled or asked)


KNOWN = made(kind="category", labels=["b", "a"])
OPEN = made(kind="category")


def test_the_same_definition_is_the_same_task():
    assert again(KNOWN, KNOWN) == KNOWN


def test_words_are_taken_from_the_new_definition():
    told = replace(KNOWN, title="Another title", metrics=("mcc",), description="more", reference="a paper")
    assert again(KNOWN, told) == told


@pytest.mark.parametrize(
    ("labels", "expected"), [("ab", "ba"), ("abc", "bac"), ("bx", "bax"), ("cd", "bacd")]
)
def test_open_labels_are_the_known_ones_then_new_ones_sorted(labels, expected):
    filled = replace(OPEN, codec=OPEN.codec.fill(labels))
    assert "".join(again(KNOWN, OPEN, filled).codec.labels) == expected


def test_written_labels_may_be_longer():
    longer = made(kind="category", labels=["b", "a", "c"])
    assert again(KNOWN, longer) == longer
    assert added_labels(KNOWN, longer) == ("where:c",)
    assert added_labels(KNOWN, KNOWN) == ()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (made(kind="category", labels=["a", "b"]), "labels stand in another order"),
        (made(kind="category", labels=["b", "c", "d"]), "labels lack a and add c, d"),
        (made(kind="category_set", labels=["b", "a"]), "kind of its answers was 'category', is 'category_set'"),
        (made(kind="category", labels=["b", "a"], values=["0", "1"]), "values of its answers was [], is ['0', '1']"),
        (made(kind="category", labels=["b", "a"], block="other"), "block of its answers was 'where', is 'other'"),
        (made(conditions=[{"field": "host"}], kind="category", labels=["b", "a"]), "its conditions were [], are ['host']"),
        (replace(KNOWN, chains=2), "chains was 1, is 2"),
        (replace(KNOWN, molecule=True), "molecule was False, is True"),
    ],
)  # fmt: skip
def test_another_task_of_the_same_name_is_refused_with_what_differs(asked, message):
    with pytest.raises(TaskError) as caught:
        again(KNOWN, asked)
    assert caught.value.code == "task.changed"
    assert message in caught.value.message
    assert "'where'" in caught.value.message


def test_all_differences_are_told_at_once():
    asked = replace(made(kind="category", labels=["x", "y"]), chains=2, symmetric=True)
    with pytest.raises(TaskError) as caught:
        again(KNOWN, asked)
    assert caught.value.message.count(";") == 2 + 1


def test_numbers_cannot_change_their_range():
    known = made(kind="number", low=0, high=10, step=0.1)
    with pytest.raises(TaskError, match=r"high of its answers was 10\.?0?, is 12"):
        again(known, made(kind="number", low=0, high=12, step=0.1))


def test_conditions_grow_as_labels_do():
    def with_values(*values, required=False):
        condition = {"field": "host", "values": list(values), "required": required}
        return made(conditions=[condition], kind="category", labels=["b", "a"])

    known = with_values("yeast", "human")
    assert again(known, with_values(), with_values("human", "mouse")).conditions[0].values == (
        "yeast",
        "human",
        "mouse",
    )
    assert again(known, with_values("yeast", "human", "ant")).conditions[0].values == (
        "yeast",
        "human",
        "ant",
    )
    assert added_labels(known, with_values("yeast", "human", "ant")) == ("host:ant",)
    with pytest.raises(TaskError, match="values of host lack yeast"):
        again(known, with_values("human"))
    with pytest.raises(TaskError, match="required of host was False, is True"):
        again(known, with_values("yeast", "human", required=True))


@pytest.mark.parametrize(
    "codec",
    [
        {"kind": "category_set", "labels": ["p", "q"]},
        {"kind": "residue_labels", "labels": ["H", "E"]},
        {"kind": "segments", "labels": ["in", "out"]},
        {"kind": "category_path", "paths": ["1.1", "2.1"]},
        {"kind": "sequence", "alphabet": ["x", "y"]},
    ],
)
def test_every_kind_with_texts_of_its_own_can_grow(codec):
    (key,) = [key for key in codec if key in APPENDED]
    text = {"paths": "1.2"}.get(key, "Z")
    known, longer = made(**codec), made(**{**codec, key: [*codec[key], text]})
    assert again(known, longer) == longer
    assert added_labels(known, longer) == (f"where:{text}",)


def test_every_list_of_texts_of_every_codec_is_thought_of():
    import dataclasses

    lists = {
        field.name
        for kind in KINDS.values()
        for field in dataclasses.fields(kind)
        if field.type == "tuple[str, ...]"
    }
    assert lists == set(APPENDED)
