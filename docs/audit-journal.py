"""Audits a file of exported journals with nothing of the Librarian, by export-format.md and events.md.

Use: audit-journal.py FILE ANCHOR [--administrator FINGERPRINT]; both name keys, such as 4100-4f18-8e4f-de77. Prints how
many entries of each site count; then NOT VERIFIED and why, if so. Exits: 0 all is right, 1 it is not, 2 wrong use."""

import argparse
import contextlib
import functools
import json
import pathlib
import re

import blake3
import nacl.signing
import zstandard

TIP = ("incarnation", "seq", "hash")
# Kinds of values: what the JSON of one must match. Forms of objects: the fields and their kinds; "*64": a list of at
# most 64; "=", "~": what is read where one is left out ("=": it is then left out of a statement signed with it, too).
KINDS = r"""site "(?!(head|inbox|join|joined|pull|reset|rpc)")[a-z][a-z0-9-]{0,30}"  key "ed25519:[0-9a-f]{64}"  one 1
hash "[0-9a-f]{64}"  signature "[0-9a-f]{128}"  incarnation "[0-9a-f]{16}"  label "[a-z0-9][a-z0-9-]{0,62}"  int [0-9]+
access "(full|callback|witness)"  kind "[a-z]{1,32}\.[a-z]{1,32}"  nkey "U[A-Z2-7]{55}"  bool true|false  any ".*"
at "(\\u.{4}|\\[^u]|[^"\\]){0,40}"  text "(\\u.{4}|\\[^u]|[^"\\]){0,1024}"  begin "begin"  segment "segment"  end "end"
tip {"incarnation":"[0-9a-f]{16}","seq":[0-9]+,"hash":"[0-9a-f]{64}"}  list \[.*]"""
FORMS = """begin t:begin v:one mesh:any by:site key:key at:any anchor:site anchor_key:key administrator:key~null
line t:segment payload:any signature:signature  end t:end segments:int chain:hash signature:signature  entry seq:int
segment v:one site:site epoch:int incarnation:incarnation first_seq:int prev:hash kind:kind entries:list
site.admitted seq:int=0 at:at="" site:site key:key access:access domain:label grants:text*256 bus:nkey*2=[] \
leaf:nkey=null may_admit:bool=false cutoff:tip=null former:key*64=[] statement:int=0 tips:tip*64=null \
administrator:signature=null  site.rekeyed seq:int at:at~"" key:key tips:tip*64~[]
site.revoked seq:int at:at~"" site:site key:key former:key*64~[] domain:label grants:text*256 reason:text \
cutoff:tip~null statement:int~0 administrator:signature~null tips:tip*64=null"""
KINDS, FORMS = (dict(each.split(" ", 1) for each in re.split("  |\n", table)) for table in (KINDS, FORMS))
DECODE = json.JSONDecoder(object_pairs_hook=lambda p: dict(zip(dict(p), [v for _, v in p], strict=True))).decode
ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
PLAIN = json.JSONDecoder(object_hook=lambda o: o if "key" in o else {n: o.get(n) for n in TIP}).decode  # tips alone
ZEROS, ROOT = "0" * 64, argparse.Namespace(incarnation="", epoch=-1, top=2**32, last=0)  # before a first segment


def read(form, value):
    """The fields of a form, beside which others may stand; none where it is no object of that form."""
    fields = {}
    for name, kind, most, default in re.findall(r"(\w+):(\w+)\*?(\d*)[=~]?(\S*)", FORMS[form]):
        found, one = value.get(name, DECODE(default or "null")) if isinstance(value, dict) else None, KINDS[kind]
        one = rf"\[({one}(,{one}){{0,{int(most) - 1}}})?]" if most else one
        if not re.fullmatch(f"{one}|{re.escape(default)}", ENCODE(found), re.DOTALL):
            return {}
        fields[name] = found
    return fields


@functools.cache
def signed(key, signature, message):
    with contextlib.suppress(nacl.exceptions.CryptoError):
        return bool(nacl.signing.VerifyKey(bytes.fromhex(key[8:])).verify(message, bytes.fromhex(signature)))


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("file"), parser.add_argument("anchor"), parser.add_argument("--administrator")
args, segments, said, roster, counting = parser.parse_args(), {}, [], {}, {}
try:  # the file
    frame = zstandard.ZstdDecompressor().decompressobj()
    *raw, rest = frame.decompress(pathlib.Path(args.file).read_bytes()).split(b"\n")
    begin, *lines, end = map(read, ["begin", *["line"] * (len(raw) - 2), "end"], map(DECODE, map(bytes.decode, raw)))
    chain = functools.reduce(lambda c, line: blake3.blake3(c.encode() + line + b"\n").hexdigest(), raw[:-1], ZEROS)
    whole = frame.eof and not frame.unused_data and not rest and begin and end and all(lines)
    if not whole or (end["segments"], end["chain"]) != (len(lines), chain):
        raise ValueError("not one whole zstd stream of whole lines of their forms, or altered")
    if not signed(begin["key"], end["signature"], f"librarian/export/1\n{chain}".encode()):
        raise ValueError("not closed with the key that the first line names")
    for key, known in ((begin["anchor_key"], args.anchor), (begin["administrator"], args.administrator)):
        if known and (key or "")[8:24] != known.replace("-", ""):
            raise ValueError(f"{known} is not of the key that the first line names, which is {key}")
except Exception as error:
    raise SystemExit(print(f"NOT VERIFIED\n{error}") or 1) from error
for number, line in enumerate(lines, 2):  # the segments, each for itself; `said`: what makes the roster, with its place
    with contextlib.suppress(Exception):  # of what is not of the form: it is missing in what is reported below
        payload, fields = line["payload"].encode(), DECODE(line["payload"])
        s = argparse.Namespace(**read("segment", fields), hash=blake3.blake3(payload).hexdigest(), signatures=[])
        s.message, s.place = b"librarian/segment/1\n" + payload, (s.epoch, s.incarnation, s.first_seq)
        s.last, s.top = s.first_seq + len(s.entries) - 1, s.epoch + 2**32
        runs = [read("entry", entry)["seq"] for entry in s.entries] == list(range(s.first_seq, s.last + 1))
        fits = runs and 1 <= s.first_seq <= s.last < s.first_seq + 512 and (s.first_seq == 1) == (s.prev == ZEROS)
        if fits and len(payload) <= 196_608 and max(s.epoch, s.last) < 2**63 and ENCODE(fields).encode():
            segments.setdefault(s.hash, s).signatures.append((number, line["signature"]))
            for entry in s.entries if s.kind in FORMS else []:
                said.append(((s.epoch, s.incarnation, entry["seq"]), s, read(s.kind, PLAIN(ENCODE(entry)))))
segments, anchor, root = sorted(segments.values(), key=lambda s: s.first_seq), begin["anchor"], begin["anchor_key"]
said = sorted([each for each in said if each[2]], key=lambda each: each[0])  # not those that break a rule of their kind
bad = [f"line {n}: no segment" for n in set(range(2, len(lines) + 2)) - {n for s in segments for n, _ in s.signatures}]
for _ in range(100 + len(said)):  # until the roster and what counts fit one another; each key or site takes a round
    old, before, counting, registers, stated, keys, faults = roster, counting, {ZEROS: ""}, {}, {}, {}, bad[:]
    for _, s, e in said:  # a register is (writer, site); the last that was said in it counts
        if s.hash in before and "site" in e and (s.site == anchor or old[s.site][1].get("access") != "callback"):
            registers[s.site, e["site"]] = s.kind, e
    for (writer, site), (kind, e) in sorted(registers.items()):
        if e["administrator"] and args.administrator:  # a statement; without --administrator it is what its writer says
            unsaid = {n: DECODE(default) for n, default in re.findall(r"(\w+):[^ =~]*=(\S+)", FORMS[kind])}
            text = (e | {"seq": 0, "at": "", "administrator": None}).items()
            text = f"{begin['mesh']}\n{kind[5:]}\n{ENCODE({n: v for n, v in text if v != unsaid.get(n, ...)})}"
            if not signed(begin["administrator"], e["administrator"], f"librarian/roster/1\n{text}".encode()):
                faults.append(f"{writer} says of {site} what the administrator did not sign for this mesh")
            elif site not in stated or e["statement"] > stated[site][1]["statement"]:
                stated[site] = kind, e
    roster, layer, done = dict(stated), [anchor], set()
    while layer:  # those that are equally near to the anchor, by name
        for (writer, site), (kind, e) in sorted(registers.items()):  # a callback site's are not among them
            if writer in layer and site not in roster and (site != anchor or ("access" in e and e["key"] == root)):
                roster[site] = kind, e
        layer, done = [site for site in roster if site not in done and roster[site][1].get("may_admit")], set(roster)
    roster.setdefault(anchor, ("site.admitted", {"key": root, "former": [], "tips": None, "cutoff": None}))
    for site, (kind, e) in roster.items():  # keys: each with the place behind which it counts, and where it ended
        tips = e["tips"] if e["tips"] is not None or not e["cutoff"] else [e["cutoff"]]
        ended = [{tip["hash"] for tip in tips or []}] if tips is not None or kind == "site.admitted" else []
        roles = [[key, (-1, "", 0), ended, []] for key in (e["key"], *e["former"])]
        roles[0][2] = ended if kind == "site.revoked" else []
        for place, s, over in (each for each in said if each[1].site == site and "site" not in each[2]):
            for role in [role for role in roles if role[0] == before.get(s.hash) and not role[3]]:
                role[3] = [{s.hash, *(tip["hash"] for tip in over["tips"])}]
                roles.append([over["key"], place, role[2], []])
        keys[site], believed = [key for key, _, ends, over in roles if not ends and not over], {ZEROS: ROOT}
        vain = {e["key"] for _, s, e in said if s.site == site and "site" not in e and s.hash not in before}
        for s in (s for s in reversed(segments) if s.site == site):  # followers first: `inside` grows to the whole past
            for inside in [inside for role in roles for inside in role[2] + role[3] if s.hash in inside]:
                inside.add(s.prev)
            for number, signature in s.signatures:
                fitting = [role for role in roles if role[1] < s.place and signed(role[0], signature, s.message)]
                known = fitting or any(signed(key, signature, s.message) for key in vain)  # a thief's own
                fits = known and len({each for _, each in s.signatures}) == 1  # not with two
                faults += [] if fits else [f"line {number}: not signed with a key that {site} had at that place"]
                for key in [r[0] for r in fitting if all(s.hash in inside for inside in r[2] + r[3])]:
                    believed[s.hash], s.key = s, key
        own = sorted((s for s in segments if s.hash in believed), key=lambda s: s.incarnation)
        two = [b for i, b in enumerate(own[1:]) if (a := own[i]).incarnation == b.incarnation and a.last >= b.first_seq]
        stories = {s.incarnation: s.first_seq for s in reversed(two)}
        faults += [f"{site}: two stories about entry {s.first_seq} of incarnation {s.incarnation}" for s in two]
        for s, p in ((s, believed.get(s.prev, s)) for s in segments if s.hash in believed):
            goes_on = p.epoch < s.epoch <= p.top if p.incarnation != s.incarnation else p.epoch == s.epoch
            if p.last + 1 != s.first_seq or not goes_on:
                faults.append(f"{site}: entry {s.first_seq} of {s.incarnation} continues nothing that counts")
            elif s.prev in counting and s.last < stories.get(s.incarnation, s.last + 1):
                counting[s.hash] = s.key
    if (old, before) == (roster, counting):
        break
faults += [] if begin["key"] in keys.get(begin["by"], []) else ["closed with a key that does not count of its site"]
for site in sorted({s.site for s in segments}):
    counts = [(s.hash in counting, len(s.entries)) for s in segments if s.site == site]
    print(f"{site}: {sum(n for c, n in counts if c)} entries count, {sum(n for c, n in counts if not c)} do not")
raise SystemExit(print("NOT VERIFIED", *faults, sep="\n") or 1 if faults else 0)
