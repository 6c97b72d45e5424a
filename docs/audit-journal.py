#!/usr/bin/env python3
"""Verify an exported journal, written against docs/export-format.md alone: audit-journal.py FILE ANCHOR-FINGERPRINT."""

import collections
import io
import json
import sys

import zstandard
from blake3 import blake3
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey


def signed(key, prefix, payload, signature):
    try:
        return bool(VerifyKey(bytes.fromhex(key[8:])).verify(prefix + payload, bytes.fromhex(signature)))
    except BadSignatureError:
        return False


def segments(path):
    chain, count, begin = "0" * 64, 0, None
    with open(path, "rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw) as stream:
        for line in io.BufferedReader(stream):
            found = json.loads(line)
            if found["t"] == "end":
                assert (found["segments"], found["chain"]) == (count, chain), "the end does not fit: missing or altered"
                assert signed(begin["key"], b"librarian/export/1\n", chain.encode(), found["signature"]), "end unsigned"
                return
            chain = blake3(chain.encode() + line).hexdigest()
            if found["t"] == "segment":
                count += 1
                yield begin, json.loads(found["payload"]), found["payload"].encode(), found["signature"]
            begin = begin or found
    raise AssertionError("the file is cut off")


def main(path, fingerprint):
    keys, admits, known = collections.defaultdict(set), set(), -1
    while known != sum(map(len, keys.values())):  # sites admit sites: again, until nothing more comes of it
        known = sum(map(len, keys.values()))
        for begin, segment, _, _ in segments(path):
            keys[begin["anchor"]].add(begin["anchor_key"])
            admits.add(begin["anchor"])
            for entry in segment["entries"]:
                if segment["kind"] == "site.admitted" and segment["site"] in admits:
                    keys[entry["site"]] |= {entry["key"], *entry.get("former", [])}
                    admits |= {entry["site"]} if entry.get("may_admit") else set()
                if segment["kind"] == "site.rekeyed" and segment["site"] in keys:
                    keys[segment["site"]].add(entry["key"])
    shown = "-".join(begin["anchor_key"][8:24][i : i + 4] for i in range(0, 16, 4))
    assert shown == fingerprint, f"the anchor is {begin['anchor']}, fingerprint {shown}"
    ends, totals = {"0" * 64: 0}, collections.Counter()
    for _, segment, payload, signature in segments(path):
        site, first, entries = segment["site"], segment["first_seq"], segment["entries"]
        good = [key for key in keys.get(site, ()) if signed(key, b"librarian/segment/1\n", payload, signature)]
        assert good, f"{site}, entry {first}: no key of that site signed it"
        assert ends.get(segment["prev"]) == first - 1, f"{site}, entry {first}: its predecessor is missing"
        assert [entry["seq"] for entry in entries] == list(range(first, first + len(entries))), f"{site}: entry {first}"
        ends[blake3(payload).hexdigest()] = first + len(entries) - 1
        totals[site] += len(entries)
    for site, count in sorted(totals.items()):
        print(f"{site}: {count} entries, every signature and link of the chain is right")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (AssertionError, zstandard.ZstdError, ValueError, KeyError, TypeError) as exc:
        sys.exit(f"NOT VERIFIED: {exc!r}")
