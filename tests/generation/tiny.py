"""Tasks of every kind, records and an encoder, small enough for the slow, obvious way of doing everything."""

from torch import nn

from protscribe.records import ProteinRecord
from protscribe.task import Task


class LetterEncoder(nn.Module):
    """One vector a residue type: all that a test of decoding needs."""

    width = 12

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(26, self.width)

    def forward(self, residues_NL, mask_NL):
        return self.table(residues_NL) * mask_NL[..., None]


def task(name, chains=1, conditions=(), **codec):
    return Task.from_plain(
        {"name": name, "title": name, "chains": chains, "codec": codec, "conditions": list(conditions)}
    )


TASKS = {
    entry.name: entry
    for entry in (
        task("one_of", kind="category", labels=["a", "b", "c"]),
        task(
            "asked_of_a_host",
            kind="category",
            labels=["x", "y"],
            conditions=[{"field": "host", "values": ["m", "h"]}],
        ),
        task("set", kind="category_set", labels=list("pqrstu")),
        task("path", kind="category_path", paths=["1.1.1", "1.1.2", "1.2.1", "2.1.1", "2.1.3"], most=3),
        task("coarse", kind="number", low=0, high=30, step=1, depth=1),
        task("fine", kind="number", low=-1, high=5.5, step=0.01, depth=2),
        task("labels", kind="residue_labels", labels=list("HEC")),
        task("sites", kind="residue_set", candidates="STY"),
        task("any_site", kind="residue_set"),
        task("parts", kind="segments", labels=["s", "t", "u"], most=4),
        task("contacts", kind="residue_pairs", separation=3, most_per_residue=0.5),
        task("string", kind="sequence", alphabet=list("xyz"), length="free", most=5),
        task("second_chain", chains=2, kind="residue_set", chain=2),
        task("interface", chains=2, kind="residue_pairs", between=True, most_per_residue=0.3),
    )
}

MARKED = task("marked", kind="residue_set", written="marks")
MARKED_STY = task("marked_sty", kind="residue_set", candidates="STY", written="marks")
MARKED_SECOND = task("marked_second", chains=2, kind="residue_set", candidates="GT", chain=2, written="marks")
SPANS = task("spans", kind="segments", labels=["s", "t", "u"], written="labels")

RECORDS = [
    ProteinRecord("one", ("MKTAYISSYTAK", "GSGSGYY"), fields={"host": "h"}),
    ProteinRecord("two", ("MST", "ACDEFGHIKLMNPQ"), fields={"host": "unheard of"}),
    ProteinRecord("three", ("S", "T")),
    ProteinRecord("four", ("ACDEFGHIKLMNPQRSTVWYSTYSTYAAAA", "MKTAYISSYTAK")),
]
