"""Third-party notices and an SBOM (CycloneDX), from `cargo metadata`: what is linked into the binary, with the texts of its licences.

third-party.py notices|sbom < METADATA

Nothing in the output depends on the machine or the time, so that two runs give the same bytes.
"""

import json
import pathlib
import sys


def linked(metadata):
    """The packages that the operator is built from, but itself, its tests and its build tools."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    found, queue = set(), [root]
    while queue:
        for dependency in nodes[queue.pop()]["deps"]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            if None in kinds and dependency["pkg"] not in found:
                found.add(dependency["pkg"])
                queue.append(dependency["pkg"])
    return packages[root], sorted((packages[name] for name in found), key=lambda p: (p["name"], p["version"]))


def texts(package):
    folder = pathlib.Path(package["manifest_path"]).parent
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "COPYRIGHT")):
            yield path.name, path.read_text(encoding="utf-8", errors="replace").strip()


def notices(_, packages):
    print("Third-party software in this binary, and its licences.")
    for package in packages:
        print(f"\n{'=' * 80}\n{package['name']} {package['version']}: {package['license']}")
        if package["repository"]:
            print(package["repository"])
        for name, text in texts(package):
            print(f"\n--- {name}\n{text}")


def sbom(root, packages):
    def component(package, kind):
        return {
            "type": kind,
            "bom-ref": f"{package['name']}@{package['version']}",
            "name": package["name"],
            "version": package["version"],
            "licenses": [{"expression": package["license"]}] if package["license"] else [],
            "purl": f"pkg:cargo/{package['name']}@{package['version']}",
        }

    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root, "application")},
        "components": [component(package, "library") for package in packages],
    }
    print(json.dumps(document, indent=2))


{"notices": notices, "sbom": sbom}[sys.argv[1]](*linked(json.load(sys.stdin)))
