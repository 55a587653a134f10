"""Runs the commands of the documentation, page by page, on the servers of a bed. Run by hack/docs-commands.

The pages are in the order in which a user would read them, since later commands need what earlier ones made. A command that needs
what a bed has not (a node, a registry, another machine) is counted as skipped; each of these has its line below.
"""

import pathlib
import re
import subprocess
import sys

PAGES = [
    # Ends with an uninstall.
    "install-helm",
    "quickstart-cluster",
    "service-accounts",
    "howto/private-ca",
    "howto/gateways",
    "howto/multi-tenancy",
    "howto/openshift",
    "howto/ssh-tunnel",
    "howto/argo-cd",
    "howto/high-availability",
    "howto/air-gapped",
    "status",
    "gitops",
    "events",
    "troubleshooting",
]

# What a bed cannot run: (how the command begins or what it has, why).
SKIPPED = [
    (r"^docker |RUST_IMAGE=", "there is no container engine"),
    (r"^helm test|kubectl .*\b(rollout|logs|port-forward)\b|kubectl .* run look|^curl ", "there is no node, so no pod runs"),
    (r"^kubectl wait|^kubectl get lease|^kubectl vconn status", "no operator runs"),
    (r"^helm push|oci://", "there is no registry"),
    (r"^helm install NEW-NAME", "hack/installs does it"),
    (r"^journalctl", "there is no second machine"),
    (r"vault-connection-operator check", "the instance of the examples does not exist"),
    (r"^kubectl create namespace vault-gateway", "it is created beforehand"),
]

# What a page takes for granted that no page before it makes.
GRANTED = {
    "troubleshooting": """
kubectl --namespace team-a create secret generic vault-approle --from-literal=roleId=a --from-literal=secretId=b
kubectl --namespace team-a apply --filename - <<'EOF'
apiVersion: appconnections.dev/v1alpha1
kind: VaultConnection
metadata: {name: my-vault-connection}
spec:
  instanceUrl: https://vault.example.com:8200
  auth: {token: {secretRef: {name: vault-token, key: token}}}
EOF
""",
}

PRELUDE = """set -euo pipefail
vault() { bao "$@"; }
# Pods never run here.
helm() { helm4 "${@/#--wait/--wait=hookOnly}"; }
"""


def blocks(text: str) -> list[str]:
    """The scripts of a page, each without the indentation of its first line."""
    found = re.findall(r"^( *)```sh\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE)
    return [re.sub(f"^{indent}", "", script, flags=re.MULTILINE) for indent, script in found]


def is_whole(command: str) -> bool:
    """Whether a shell takes this for whole commands. It warns of a here-document that does not end."""
    shell = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True, check=False)
    return shell.returncode == 0 and not shell.stderr and not command.rstrip().endswith(("\\", "|", "||"))


def commands(script: str) -> list[str]:
    found, command = [], ""
    for line in script.splitlines():
        command += line + "\n"
        if is_whole(command):
            if command.strip() and not command.lstrip().startswith("#"):
                found.append(command)
            command = ""
    return found


def main() -> None:
    docs, work = pathlib.Path(sys.argv[1]), sys.argv[2]
    ran, failed, used = 0, [], set()
    for page in PAGES:
        script = PRELUDE + GRANTED.get(page, "")
        for command in (c for block in blocks((docs / f"{page}.md").read_text()) for c in commands(block)):
            why = next((why for pattern, why in SKIPPED if re.search(pattern, command.strip())), None)
            if why:
                used.add(why)
                continue
            ran += 1
            script += command.replace("REGISTRY/", "registry.example.com/")
        # All commands of a page share one shell, as they do for its reader.
        shell = subprocess.run(["bash", "-v", "-c", script], cwd=work, capture_output=True, text=True, check=False, timeout=300)
        if shell.returncode != 0:
            failed.append(page)
            print(f"docs/{page}.md: a command failed:\n{shell.stdout[-500:]}{shell.stderr[-1500:]}", file=sys.stderr)
    unused = {why for _, why in SKIPPED} - used
    if failed or unused:
        sys.exit(f"error: commands of {failed} failed" if failed else f"error: nothing is skipped because {sorted(unused)}")
    if ran < 40:
        sys.exit(f"error: only {ran} commands were found")
    print(f"{ran} commands of {len(PAGES)} pages work", file=sys.stderr)


main()
