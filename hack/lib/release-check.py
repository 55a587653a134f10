"""Whether the files of a release fit together. Run by hack/release check.

release-check.py DIR NAME VERSION

What is not there yet (the binaries, before they are built) is not looked for; what is there must be right.
"""

import hashlib
import io
import json
import pathlib
import re
import struct
import sys
import tarfile

FOLDER, NAME, VERSION = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
PLUGIN, NOTICES = "kubectl-vconn", "THIRD-PARTY-NOTICES.txt"
# What an ELF header calls the processor.
MACHINES = {"amd64": 62, "arm64": 183}
IMAGE_FILES = sorted(["LICENSE", NOTICES, NAME, "etc/ssl/certs/ca-certificates.crt"])
LABELS = ["title", "version", "description", "created", "revision", "licenses"]


def require(condition, message):
    if not condition:
        sys.exit(f"error: {FOLDER}: {message}")


def entries(archive):
    return {name.removeprefix("./"): archive.extractfile(name).read() for name in archive.getnames() if archive.getmember(name).isfile()}


def packed(path):
    with tarfile.open(path) as archive:
        return entries(archive)


def checksums():
    lines = (FOLDER / "SHA256SUMS").read_text().splitlines()
    named = {line.split("  ", 1)[1] for line in lines}
    there = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    left = {name for name in there - named if not name.startswith("SHA256SUMS") and not name.endswith(".sigstore.json")}
    require(not left, f"SHA256SUMS does not name {sorted(left)}")
    return f"checksums of {len(named)} files"


def charts():
    for chart in [NAME, f"{NAME}-crds"]:
        files = packed(FOLDER / f"{chart}-{VERSION}.tgz")
        about = files[f"{chart}/Chart.yaml"].decode()
        require(f"\nversion: {VERSION}\n" in about, f"the chart {chart} has another version")
        require(f"{chart}/values.schema.json" in files or chart != NAME, f"the chart {chart} has no schema")
    return "charts"


def manifests():
    crds, install = ((FOLDER / name).read_text() for name in ["crds.yaml", "install.yaml"])
    for text in [crds, install]:
        require(text.count("\nkind: CustomResourceDefinition\n") == 2, "a manifest does not have two CRDs")
    require("\nkind: Deployment\n" in install, "install.yaml has no Deployment")
    return "manifests"


def bill():
    """The SBOM is whole in itself, and the notices name the same."""
    document = json.loads((FOLDER / f"{NAME}-{VERSION}.cdx.json").read_text())
    notices = (FOLDER / NOTICES).read_text()
    require(document["metadata"]["component"]["version"] == VERSION, "the SBOM is of another version")
    everything = [document["metadata"]["component"], *document["components"]]
    references = {component["bom-ref"] for component in everything}
    require(len(references) == len(everything), "the SBOM has a component twice")
    for component in document["components"]:
        require(component["licenses"][0]["expression"], f"{component['name']} has no licence in the SBOM")
        crate = component.get("purl", "").startswith("pkg:cargo/")
        require(not crate or component["hashes"], f"{component['name']} has no checksum in the SBOM")
        line = re.compile(rf"^{re.escape(component['name'])} {re.escape(component.get('version', ''))}: .*\[\d", re.MULTILINE)
        require(not crate or line.search(notices), f"the notices do not name {component['name']} {component.get('version')}")
    needed = {document["metadata"]["component"]["bom-ref"]}
    for dependency in document["dependencies"]:
        needed.update(dependency["dependsOn"])
    require(needed == references, f"the SBOM's graph has other nodes than its list: {sorted(needed ^ references)}")
    require("\nCopyright © 2005-2020 Rich Felker" in notices, "the notices have no licence of musl")
    require("Copyright notices for The Rust Standard Library" in notices, "the notices have none of the standard library: Rust's documents are missing")
    return f"SBOM and notices of {len(document['components'])} components"


def man_pages():
    pages = packed(FOLDER / f"{PLUGIN}-man-{VERSION}.tar.gz")
    require(all(name.startswith("man1/") and text.startswith((b".ie", b".TH")) for name, text in pages.items()), "a man page is none")
    return f"{len(pages)} man pages"


def is_static(binary, arch):
    """An ELF program for ARCH that needs neither an interpreter nor a library."""
    require(binary[:6] == b"\x7fELF\x02\x01", f"the binary for {arch} is not an ELF file")
    require(struct.unpack_from("<H", binary, 18)[0] == MACHINES[arch], f"the binary for {arch} is for another processor")
    start, size, count = struct.unpack_from("<Q", binary, 32)[0], *struct.unpack_from("<HH", binary, 54)
    for at in range(start, start + size * count, size):
        kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", binary, at)
        require(kind != 3, f"the binary for {arch} has an interpreter")
        tags = [struct.unpack_from("<q", binary, entry)[0] for entry in range(offset, offset + length, 16)] if kind == 2 else []
        require(1 not in tags, f"the binary for {arch} needs a library")


def binary(arch):
    program = FOLDER / f"{NAME}-linux-{arch}"
    content = program.read_bytes()
    is_static(content, arch)
    for place in [b"/root/", b"/home/runner", b"/tmp/"]:
        require(not re.search(re.escape(place) + rb"[\w./-]*\.rs", content), f"the binary for {arch} names a file below {place.decode()}")
    plugin = packed(FOLDER / f"{PLUGIN}-linux-{arch}.tar.gz")
    require(sorted(plugin) == ["LICENSE", NOTICES, PLUGIN], f"the plugin's archive for {arch} has {sorted(plugin)}")
    require(plugin[PLUGIN] == content, f"the plugin for {arch} is not the binary")
    require(plugin[NOTICES] == (FOLDER / NOTICES).read_bytes(), f"the plugin's notices for {arch} are others")
    krew = (FOLDER / "vconn.yaml").read_text()
    digest = hashlib.sha256((FOLDER / f"{PLUGIN}-linux-{arch}.tar.gz").read_bytes()).hexdigest()
    require(re.search(rf"arch: {arch}\}}\}}\n +uri: .*\n +sha256: {digest}\n", krew), f"vconn.yaml does not have the archive for {arch}: run hack/release files")
    return f"static binary and plugin for {arch}, {len(content):,} bytes"


def image(arch):
    archive = packed(FOLDER / f"{NAME}-{VERSION}-linux-{arch}.oci.tar")

    def blob(descriptor):
        content = archive["blobs/" + descriptor["digest"].replace(":", "/")]
        require(descriptor["digest"] == "sha256:" + hashlib.sha256(content).hexdigest(), f"a blob of the image for {arch} is damaged")
        return content

    (entry,) = json.loads(archive["index.json"])["manifests"]
    manifest = json.loads(blob(entry))
    about = json.loads(blob(manifest["config"]))
    config = about["config"]
    require(about["architecture"] == arch and about["os"] == "linux", f"the image for {arch} is for {about['architecture']}")
    require(config["User"] == "65532:65532", f"the image for {arch} runs as {config.get('User')}")
    require(config["Entrypoint"] == [f"/{NAME}"] and config["Cmd"] == ["run"], f"the image for {arch} starts something else")
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    require(all(labels.get(name) for name in LABELS) and labels["version"] == VERSION, f"the image for {arch} has the labels {labels}")
    files = {}
    for layer in manifest["layers"]:
        with tarfile.open(fileobj=io.BytesIO(blob(layer))) as content:
            files.update(entries(content))
    require(sorted(files) == IMAGE_FILES, f"the image for {arch} has the files {sorted(files)}")
    require(files[NAME] == (FOLDER / f"{NAME}-linux-{arch}").read_bytes(), f"the image for {arch} has another binary")
    require(files[NOTICES] == (FOLDER / NOTICES).read_bytes(), f"the image's notices for {arch} are others")
    return f"image for {arch}, {sum(layer['size'] for layer in manifest['layers']):,} bytes packed, {entry['digest']}"


def main():
    print(checksums())
    for step in [charts, manifests, bill, man_pages]:
        print(step())
    for arch in MACHINES:
        if (FOLDER / f"{NAME}-linux-{arch}").exists():
            print(binary(arch))
        if (FOLDER / f"{NAME}-{VERSION}-linux-{arch}.oci.tar").exists():
            print(image(arch))


main()
