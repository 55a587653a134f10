"""Third-party notices and an SBOM (CycloneDX) of what is linked into the static binary: the crates that `cargo tree` names for its
targets, Rust's standard library, and musl.

third-party.py notices|sbom

Nothing in the output depends on the machine or the time: two runs with the same toolchain give the same bytes.
"""

import hashlib
import html
import json
import os
import pathlib
import re
import subprocess
import sys
import tomllib
import uuid

TARGETS = ["x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl"]
STD = "the Rust standard library"
MUSL = """\
Copyright © 2005-2020 Rich Felker, et al.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated documentation files (the
"Software"), to deal in the Software without restriction, including without limitation the rights to use, copy, modify, merge, publish,
distribute, sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to
the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR
ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH
THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE."""


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def tree():
    """The crates of the binary, as (name, version): {license, repository, needs}; the first is the operator. `cargo metadata` would not
    do: it adds the features that only tests turn on, and what runs in the compiler."""
    crates = {}
    for target in TARGETS:
        command = ["--edges", "normal,no-proc-macro", "--target", target, "--prefix", "depth", "--format", " {p}|{l}|{r}"]
        parents = []
        for line in run("cargo", "tree", "--locked", *command).splitlines():
            depth, what = line.split(" ", 1)
            package, spdx, repository = what.split("|")
            name, version = package.split()[:2]
            crate = (name, version.removeprefix("v"))
            # The slash is how crates wrote "OR" before SPDX did.
            fresh = {"license": spdx.replace("/", " OR "), "repository": repository.split()[0] if repository.strip() else "", "needs": set()}
            crates.setdefault(crate, fresh)
            parents[int(depth) :] = [crate]
            if len(parents) > 1:
                crates[parents[-2]]["needs"].add(crate)
    return crates


def texts(crate):
    """The licences and notices that the crate brings."""
    home = pathlib.Path(os.environ.get("CARGO_HOME") or pathlib.Path.home() / ".cargo")
    folders = sorted(home.glob(f"registry/src/*/{crate[0]}-{crate[1]}"))
    if not folders:
        sys.exit(f"error: the source of {crate[0]} {crate[1]} is not in {home}/registry/src: run cargo fetch --locked")
    for path in sorted(folders[0].iterdir()):
        if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT")):
            yield "\n".join(line.rstrip() for line in path.read_text(encoding="utf-8", errors="replace").strip().splitlines())


def standard_library():
    """What the toolchain says of its standard library and what that is built from."""
    page = pathlib.Path(run("rustc", "--print", "sysroot").strip(), "share/doc/rust/COPYRIGHT-library.html")
    if not page.exists():
        return "MIT OR Apache-2.0, and of parts as https://github.com/rust-lang/rust/blob/HEAD/COPYRIGHT says."
    text = html.unescape(re.sub(r"<[^>]*>", "", page.read_text(encoding="utf-8")))
    return re.sub(r"\n\s*\n+", "\n\n", text).strip()


def notices(crates):
    """Each crate with the numbers of its texts, and then each text once."""
    own = pathlib.Path("LICENSE").read_text(encoding="utf-8").strip()
    numbers = {}
    print("Third-party software in this binary. A number is that of a text below.\n")
    for crate in sorted(crates):
        about = crates[crate]
        found = list(texts(crate)) or ([own] if "Apache-2.0" in about["license"] else [])
        if not found:
            sys.exit(f"error: {crate[0]} {crate[1]} ({about['license']}) has no text of its licence, and its licence is not ours")
        which = sorted({numbers.setdefault(text, len(numbers) + 1) for text in found})
        print(f"{crate[0]} {crate[1]}: {about['license']} [{', '.join(map(str, which))}] {about['repository']}".rstrip())
    for name, text in [(STD, standard_library()), ("musl", MUSL)]:
        print(f"{name} [{numbers.setdefault(text, len(numbers) + 1)}]")
    for text, number in numbers.items():
        print(f"\n{'=' * 80}\n[{number}]\n\n{text}")


def sbom(root, about, crates):
    lock = tomllib.loads(pathlib.Path("Cargo.lock").read_text(encoding="utf-8"))
    checksums = {(package["name"], package["version"]): package.get("checksum") for package in lock["package"]}

    def reference(crate):
        return f"pkg:cargo/{crate[0]}@{crate[1]}"

    def component(crate, about, kind):
        hashes = [{"alg": "SHA-256", "content": checksums[crate]}] if checksums[crate] else []
        links = [{"type": "vcs", "url": about["repository"]}] if about["repository"] else []
        return {
            "type": kind,
            "bom-ref": reference(crate),
            "name": crate[0],
            "version": crate[1],
            "hashes": hashes,
            "licenses": [{"expression": about["license"]}],
            "purl": reference(crate),
            "externalReferences": links,
        }

    rust = run("rustc", "--version").split()[1]
    std = {"type": "library", "bom-ref": f"rust-std@{rust}", "name": "rust-std", "version": rust, "licenses": [{"expression": "MIT OR Apache-2.0"}]}
    # Its version is that of the toolchain, which does not say it.
    musl = {"type": "library", "bom-ref": "musl", "name": "musl", "licenses": [{"expression": "MIT"}]}
    needs = {reference(crate): sorted(map(reference, crates[crate]["needs"])) for crate in sorted(crates)}
    needs[reference(root)] = sorted(map(reference, about["needs"])) + [std["bom-ref"]]
    needs[std["bom-ref"]], needs["musl"] = ["musl"], []
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root, about, "application")},
        "components": [component(crate, crates[crate], "library") for crate in sorted(crates)] + [std, musl],
        "dependencies": [{"ref": name, "dependsOn": sorted(on)} for name, on in sorted(needs.items())],
    }
    # A number of this content.
    content = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}"
    print(json.dumps(document, indent=2))


def main(what):
    crates = tree()
    root = next(iter(crates))
    about = crates.pop(root)
    if what == "notices":
        notices(crates)
    else:
        sbom(root, about, crates)


main(sys.argv[1])
