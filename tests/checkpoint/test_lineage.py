"""What a manifest says a bundle was trained on; whoever wrote it, what comes out is well-formed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from protscribe.checkpoint.lineage import trained_on, trained_tasks

ENTRY = {"task": "where", "source": "where.csv", "weight": 2.0}


def manifest(**provenance):
    return {"readouts": {"where": {}, "sites": {}}, "provenance": provenance}


def test_entries_are_told_by_name():
    assert trained_on(manifest(mixture={"mine": ENTRY})) == {"mine": ENTRY}
    assert trained_tasks(manifest()) == ("where", "sites")


def test_older_bundles_name_sources_only():
    found = trained_on(manifest(sources={"where": "where.csv", "extra": "x"}))
    assert found == {"where": {"task": "where", "source": "where.csv", "weight": 1.0}}


def test_nothing_is_told_of_a_bundle_that_says_nothing():
    assert trained_on(manifest()) == {}


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text("ab", max_size=3) | st.sampled_from(["where", "sites"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["task", "source", "weight", "mixture", "sources"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["mixture", "sources"]), values))
def test_whatever_stands_there_comes_out_as_entries_or_not_at_all(provenance):
    for entry in trained_on({"readouts": {"where": {}, "sites": {}}, "provenance": provenance}).values():
        assert entry["task"] in ("where", "sites")
        assert isinstance(entry["source"], str)
        assert entry["weight"] > 0
