"""A trace of somebody else's: sizes are bounded before they are believed, messages are short."""

import gzip
import json
from pathlib import Path

from cases import MIB, Trial, case, each, expect, raw_controls

AREA = "trace"

# Most memory that reading a trace may take, in bytes, and most that a message may have.
TRACE_BYTES = 600 * MIB
MESSAGE_BYTES = 16_384

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
ROW = "2026-01-05 09:00:00.0000000,146,93\n"


def packed(path: Path, begin: bytes, block: bytes, blocks: int, end: bytes = b"") -> None:
    """Writes a file of many equal blocks, packed, without ever having it in memory."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(begin)
        for _ in range(blocks):
            file.write(block)
        file.write(end)


def inspected(trial: Trial, name: str, write, seconds: float = 20.0) -> str:
    """Looks at a trace: refused with a short message, or read, in seconds and bounded memory."""
    path = trial.folder / name
    content = write(path) if callable(write) else write
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    ended = trial.run("trace", "inspect", name, seconds=seconds, most_bytes=TRACE_BYTES)
    ended.expect_code(0, 2, 4)
    expect(not raw_controls(ended.out + ended.err), "control characters on the terminal")
    expect(ended.code == 0 or ended.written < MESSAGE_BYTES, f"a message of {ended.written} bytes")
    return ended.seen()


def mooncake(**changed) -> str:
    """A line of a trace in the format of Mooncake."""
    return (
        json.dumps(
            {"timestamp": 0, "input_length": 10, "output_length": 5, "hash_ids": [0]} | changed
        )
        + "\n"
    )


def linked_to_itself(path: Path) -> None:
    """Makes a folder whose one file is a link to itself."""
    path.mkdir()
    (path / "a.csv").symlink_to("a.csv")


SHORT = "refused with a message of a few lines, or read, in bounded memory and time"
LONG = "x" * (4 * MIB)
DEEP = "[" * 100_000 + "]" * 100_000
TRACES = {
    "stray-quote": ("azure.csv", lambda _: AZURE + 'a"b,1,2\n' + ROW * 400_000),
    "stray-quote-in-the-middle": (
        "azure.csv",
        lambda _: AZURE + ROW * 1_000 + '2026-01-05 09:00:00"x,146,93\n' + ROW * 400_000,
    ),
    "open-quote": ("azure.csv", lambda _: AZURE + '"open,1,2\n' + ROW * 400_000),
    "many-stray-quotes": ("azure.csv", lambda _: AZURE + 'a"b,1,2\n' * 400_000),
    "quotes-alone": ("azure.csv", lambda _: AZURE + '"' * (8 * MIB)),
    "long-csv-value": ("azure.csv", AZURE + f"{LONG},1,2\n"),
    "long-csv-number": ("azure.csv", AZURE + f"2026-01-05 09:00:00,{'9' * MIB},2\n"),
    "long-csv-name": ("azure.csv", f"{LONG},ContextTokens\n1,2\n"),
    "columns-100000": ("azure.csv", ",".join(f"c{n}" for n in range(100_000)) + "\n1\n"),
    "commas": ("azure.csv", AZURE + "," * (4 * MIB) + "\n"),
    "long-json-value": ("m.jsonl", mooncake(timestamp=LONG)),
    "long-json-list": ("m.jsonl", mooncake(hash_ids=[-1] * 500_000)),
    "long-json-list-of-texts": ("m.jsonl", mooncake(hash_ids=["x"] * 500_000)),
    "long-json-name": ("m.jsonl", mooncake(**{LONG: 1})),
    "many-json-names": ("m.jsonl", mooncake(**{f"k{n}": n for n in range(200_000)})),
    "other-names-each-line": (
        "m.jsonl",
        lambda _: "".join(mooncake(**{f"k{n}": n}) for n in range(50_000)),
    ),
    "deep-json": ("m.jsonl", mooncake().replace("[0]", DEEP)),
    "deep-json-at-the-start": ("m.jsonl", DEEP + "\n"),
    "deep-json-objects": ("m.jsonl", '{"a":' * 100_000 + "1" + "}" * 100_000 + "\n"),
    "negative": ("m.jsonl", mooncake(input_length=-5)),
    "infinite": ("m.jsonl", mooncake(timestamp=float("inf"))),
    "lengths-4e9": ("m.jsonl", mooncake(input_length=4_000_000_000, output_length=4_000_000_000)),
    "time-9e15": ("m.jsonl", mooncake(timestamp=9e15)),
    "time-1e308": ("m.jsonl", mooncake(timestamp=1e308)),
    "nul-bytes": ("azure.csv", b"\x00" * MIB),
    "escapes": ("azure.csv", AZURE + "\x1b[2J\u202e\x9b,1,2\n"),
    "escapes-in-names": ("azure.csv", "\x1b[2J,\u202ea\n1,2\n"),
    "no-utf-8": ("azure.csv", AZURE.encode() + b"\xff\xfe,1,2\n"),
    "not-parquet": ("t.parquet", b"PAR1" + b"\xff" * 10_000 + b"PAR1"),
    "parquet-of-a-huge-footer": (
        "t.parquet",
        b"PAR1" + bytes(64) + (2**31 - 1).to_bytes(4, "little") + b"PAR1",
    ),
    "gzip-cut": ("azure.csv.gz", gzip.compress((AZURE + ROW * 10_000).encode())[:-500]),
    "gzip-of-gzip": ("azure.csv.gz", gzip.compress(gzip.compress((AZURE + ROW).encode()))),
    "gzip-members-20000": (
        "azure.csv.gz",
        lambda _: gzip.compress(AZURE.encode()) + gzip.compress(ROW.encode()) * 20_000,
    ),
    "gzip-line-of-2-GB": (
        "azure.csv.gz",
        lambda path: packed(path, AZURE.encode(), b"1" * MIB, 2_000),
    ),
    "gzip-head-of-1-GB": ("azure.csv.gz", lambda path: packed(path, b"", b"a" * MIB, 1_000)),
    "gzip-json-line-of-1-GB": (
        "m.jsonl.gz",
        lambda path: packed(path, b'{"timestamp":0,"x":"', b"a" * MIB, 1_000, b'"}\n'),
    ),
    "folder-of-links": ("traces", linked_to_itself),
}
each(
    AREA, {f"trace-{name}": (SHORT, *rest) for name, rest in TRACES.items()}, inspected, seconds=60
)


@case(AREA)
def damaged_parquet(trial: Trial) -> str:
    """A Parquet trace with bytes that are flipped is read or refused: no panic, bounded memory."""
    (trial.folder / "m.jsonl").write_text(
        "".join(mooncake(timestamp=n, hash_ids=[n, n + 1]) for n in range(500))
    )
    trial.run("trace", "convert", "m.jsonl", "--out", "whole.parquet").expect_code(0)
    whole = (trial.folder / "whole.parquet").read_bytes()
    codes = []
    for seed in range(12):
        damaged = bytearray(whole)
        for step in range(20):
            place = (seed * 7_919 + step * 104_729) % len(damaged)
            damaged[place] ^= 1 << (seed + step) % 8
        codes.append(inspected(trial, "damaged.parquet", bytes(damaged)).split(",")[0])
    return ", ".join(codes)


@case(AREA)
def bad_first_row(trial: Trial) -> str:
    """A trace whose first row can't be read is refused before anything is sent."""
    (trial.folder / "azure.csv").write_text(AZURE + "never,1,2\n")
    words = [
        "--base-url",
        "http://127.0.0.1:9",
        "--model",
        "m",
        "--self-check",
        "0s",
        "--out",
        "run.tape",
    ]
    ended = trial.run("replay", "azure.csv", *words).expect_code(2, 4)
    expect(not (trial.folder / "run.tape").exists(), "left a tape of nothing")
    return ended.seen()


@case(AREA, slow=True, seconds=200)
def gzip_bomb(trial: Trial) -> str:
    """A trace of 2 GB in a few MB is read row by row, in bounded memory."""
    rows = (ROW * 30_000).encode()
    return inspected(
        trial, "bomb.csv.gz", lambda path: packed(path, AZURE.encode(), rows, 2_000), 180.0
    )
