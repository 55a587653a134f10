"""Measures the operator with many connections in a bed, and writes a report page. Run by hack/bench; see hack/README.md.

What is measured is the operator's own process, from outside: CPU time, memory and context switches as Linux counts them, and what its
metrics count. The bare clients here make the floor: as many objects, status patches and logins as the operator needs, and nothing else.
"""

import base64, http.client, json, os, re, signal, socket, ssl, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlparse

from bench_report import write_report

BED, BINARY, OUTPUT = Path(os.environ["BED_DIR"]), sys.argv[1], Path(sys.argv[2])
SIZES = [int(size) for size in sys.argv[3].split(",")]
SCENES = sys.argv[4].split(",") if len(sys.argv) > 4 else []
GROUP = "/apis/appconnections.dev/v1alpha1/namespaces"
PREFIX = "vault_connection_operator_"
CLIENTS = 8  # bare clients at once: more do not make two cores faster
TICK = os.sysconf("SC_CLK_TCK")
OUTAGE = 60
MAX_PAUSE = 5  # between two scrapes
MOST_TLS = 1000  # what TLS adds to a check does not depend on how many there are, so that it is measured once
TLS_SIZE = max([size for size in SIZES if size <= MOST_TLS], default=min(SIZES))


class Client:
    """A keep-alive HTTP client for each thread."""

    def __init__(self, url, headers, ca=None):
        self.url, self.headers = urlparse(url), headers
        self.tls = ssl.create_default_context(cafile=ca) if ca else None
        self.local = threading.local()

    def call(self, method, path, body=None, expect=(200, 201, 204), kind="application/json"):
        data = None if body is None else json.dumps(body)
        for attempt in range(3):
            try:
                connection = self.connection()
                connection.request(method, path, data, {**self.headers, "Content-Type": kind})
                answer = connection.getresponse()
                text = answer.read()
                break
            except (http.client.HTTPException, OSError):
                self.local.connection = None
                if attempt == 2:
                    raise
        if answer.status not in expect:
            raise SystemExit(f"error: {method} {path} was answered with {answer.status}")
        return json.loads(text) if text else None

    def connection(self):
        if getattr(self.local, "connection", None) is None:
            host = (self.url.hostname, self.url.port)
            plain = self.tls is None
            self.local.connection = (
                http.client.HTTPConnection(*host) if plain else http.client.HTTPSConnection(*host, context=self.tls)
            )
        return self.local.connection


def in_parallel(work, items):
    start = time.time()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(work, items))
    return time.time() - start


token = re.search(r"token: (\S+?)}", (BED / "kubeconfig").read_text()).group(1)
kube = Client(os.environ["BED_APISERVER"], {"Authorization": f"Bearer {token}"}, os.environ["BED_APISERVER_CA"])
vault = Client(os.environ["BED_VAULT_ADDR"], {"X-Vault-Token": os.environ["BED_VAULT_TOKEN"]})


class Operator:
    """The operator as a process of this machine."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = probe.getsockname()
        self.begin = time.time()
        self.log = open(BED / "logs" / "operator.log", "a")
        self.process = subprocess.Popen(
            [BINARY, "run", "--allow-address=127.0.0.1", "--allow-plain-http", "--log-format=json"]
            + [f"--listen-address=127.0.0.1:{self.address[1]}"],
            env={"KUBECONFIG": str(BED / "demo/operator.kubeconfig"), "BED_DIR": str(BED)},
            stdout=self.log, stderr=self.log,
        )
        self.until(lambda _: 1, 1, 120)

    def metrics(self):
        connection = http.client.HTTPConnection(*self.address, timeout=5)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        values = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name.removeprefix(PREFIX): float(value) for name, value in values}

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def memory(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        read = lambda field: int(re.search(rf"{field}:\s+(\d+)", status).group(1)) / 1024
        return round(read("VmRSS"), 1), round(read("VmHWM"), 1)

    def switches(self):
        pattern = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)", re.M)
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/status")
        return sum(int(pattern.search(task.read_text()).group(1)) for task in tasks)

    def until(self, progress, target, seconds, pause=0.2):
        """Waits until what `progress` takes from the metrics reaches a target, and tells how long that took. A scrape of 10,000 connections
        costs the operator as much as ten checks, so that it asks seldom as long as the end is far: the end is found within 2 %."""
        start, first = time.time(), None
        while (took := time.time() - start) < seconds:
            if self.process.poll() is not None:
                raise SystemExit("error: the operator has ended; see logs/operator.log")
            wait = pause
            try:
                done = progress(self.metrics())
                if done >= target:
                    return time.time() - start
                first = done if first is None else first
                left = took * (target - done) / (done - first) if done > first else took / 5
                wait = max(pause, took / 50, min(left / 2, MAX_PAUSE))
            except OSError:
                pass
            time.sleep(wait)
        print(f"  not within {seconds} s", flush=True)
        return None

    def stop(self):
        start = time.time()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return time.time() - start


def count(metrics, name, **labels):
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(v for k, v in metrics.items() if k.split("{")[0] == name and all(label in k for label in wanted))


def connected(metrics):
    return count(metrics, "connections", state="Connected")


def checked(metrics):
    return count(metrics, "checks_total", reason="Connected")


def logged_in(metrics):
    return count(metrics, "vault_requests_total", operation="login", answer="2xx")


def written(metrics):
    return count(metrics, "status_writes_total")


def revoked(metrics):
    return count(metrics, "vault_requests_total", operation="revoke_self", answer="2xx")


class Interval:
    """What the operator used between two moments."""

    def __init__(self, operator):
        self.operator, self.start = operator, time.time()
        self.cpu, self.switches, self.metrics = operator.cpu(), operator.switches(), operator.metrics()

    def end(self, per):
        after, took = self.operator.metrics(), time.time() - self.start
        more = lambda name, **labels: int(count(after, name, **labels) - count(self.metrics, name, **labels))
        resident, peak = self.operator.memory()
        return {
            "seconds": round(took, 1),
            "cpu_ms_each": round(1000 * (self.operator.cpu() - self.cpu) / per, 2),
            "switches_each": round((self.operator.switches() - self.switches) / per, 1),
            "resident_mib": resident,
            "peak_mib": peak,
            "checks": more("checks_total"),
            "overdue_writes": more("checks_total", reason="CheckOverdue"),
            "status_writes": more("status_writes_total"),
            "health": more("vault_requests_total", operation="health"),
            "logins": more("vault_requests_total", operation="login"),
            "lookups": more("vault_requests_total", operation="lookup_self"),
        }


def secret(name, values, labelled=True):
    labels = {"appconnections.dev/credentials": "true"} if labelled else {}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}, "data": data}


def connection(name, url=os.environ["BED_VAULT_ADDR"], **spec):
    refer = lambda key: {"secretRef": {"name": "vault-approle", "key": key}}
    auth = {"appRole": {"roleId": refer("roleId"), "secretId": refer("secretId")}}
    spec = {"instanceUrl": url, "auth": auth, **spec}
    metadata = {"name": name}
    return {"apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultConnection", "metadata": metadata, "spec": spec}


def new_pair():
    role = "/v1/auth/approle/role/long"
    role_id = vault.call("GET", f"{role}/role-id")["data"]["role_id"]
    return {"roleId": role_id, "secretId": vault.call("POST", f"{role}/secret-id", {})["data"]["secret_id"]}


def tokens():
    listed = vault.call("LIST", "/v1/auth/token/accessors", expect=(200, 404))
    return len(listed["data"]["keys"]) if listed and "data" in listed else 0


def create(namespace, objects):
    path = f"{GROUP}/{namespace}/vaultconnections"
    return in_parallel(lambda body: kube.call("POST", path, body), objects)


def namespace(name):
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    kube.call("POST", "/api/v1/namespaces", body, expect=(201, 409))


def delete(name):
    """Deletes the connections of a namespace. The API server gives up after a minute, with what it has done until then."""
    path = f"{GROUP}/{name}/vaultconnections"
    while kube.call("GET", f"{path}?limit=1")["items"]:
        kube.call("DELETE", path, expect=(200, 504))


def sample_status():
    """A status as the operator writes it, of a connection that is Ready."""
    namespace("sample")
    kube.call("POST", "/api/v1/namespaces/sample/secrets", secret("vault-approle", new_pair()), expect=(201, 409))
    operator = Operator()
    create("sample", [connection("sample")])
    operator.until(connected, 1, 60)
    operator.stop()
    status = kube.call("GET", f"{GROUP}/sample/vaultconnections/sample")["status"]
    delete("sample")
    return status


def patch(names, status):
    """Applies a status to connections as bare clients."""
    body = {"apiVersion": "appconnections.dev/v1alpha1", "kind": "VaultConnection", "status": status}
    path = f"{GROUP}/floor/vaultconnections/{{}}/status?fieldManager=floor&force=true&fieldValidation=Ignore"
    named = lambda name: {**body, "metadata": {"name": name, "namespace": "floor"}}
    return in_parallel(
        lambda name: kube.call("PATCH", path.format(name), named(name), kind="application/apply-patch+yaml"), names
    )


def floor(number):
    """What the same objects, status patches and logins cost bare clients, without an operator. The patch is that of a status of the same
    content; what one field alone costs is shown beside it, measured with a tenth of the objects."""
    status = sample_status()
    namespace("floor")
    names = [f"c-{index}" for index in range(number)]
    created = create("floor", [connection(name, suspend=True) for name in names])
    patched = patch(names, status)
    few = [f"few-{index}" for index in range(max(number // 10, 10))]
    create("floor", [connection(name, suspend=True) for name in few])
    one_field = patch(few, {"observedGeneration": 1}) * number / len(few)
    pair = new_pair()
    login = {"role_id": pair["roleId"], "secret_id": pair["secretId"]}
    logins = in_parallel(lambda _: vault.call("POST", "/v1/auth/approle/login", login), range(number))
    delete("floor")
    parts = {"create": created, "patch": patched, "login": logins}
    total = {**parts, "sum": sum(parts.values()), "patch_of_one_field": one_field}
    return {name: round(seconds, 1) for name, seconds in total.items()}


def steady(operator, number):
    """One settled re-check of each connection, which is due within a minute."""
    interval = Interval(operator)
    operator.until(checked, checked(interval.metrics) + number, 300, pause=5)
    result = interval.end(number)
    return {**result, "cpu_ms_each": round(result["cpu_ms_each"] * number / max(result["checks"], 1), 2)}


def scrape(operator):
    """What one scrape of /metrics costs."""
    interval = Interval(operator)
    for _ in range(20):
        operator.metrics()
    return {key: value for key, value in interval.end(20).items() if key in ("cpu_ms_each", "resident_mib", "peak_mib")}


def with_tls(number):
    """First checks and settled re-checks over TLS with a private CA, by an operator of their own."""
    namespace("tls")
    kube.call("POST", "/api/v1/namespaces/tls/secrets", secret("vault-approle", new_pair()), expect=(201, 409))
    tls = {"caBundle": {"inline": Path(os.environ["BED_VAULT_CA"]).read_text()}}
    operator = Operator()
    interval = Interval(operator)
    create("tls", [connection(f"t-{index}", os.environ["BED_VAULT_TLS_ADDR"], tls=tls) for index in range(number)])
    operator.until(connected, number, 900)
    result = interval.end(number), steady(operator, number)
    operator.stop()
    delete("tls")
    return result


def rotation(operator, number):
    """Another secret id in the Secret that all share, until each is logged in with it, says so, and has its former token revoked."""
    interval = Interval(operator)
    kube.call("PUT", "/api/v1/namespaces/bench/secrets/vault-approle", secret("vault-approle", new_pair()))
    took = operator.until(logged_in, logged_in(interval.metrics) + number, 600)
    tidied_up = lambda metrics: min(what(metrics) - what(interval.metrics) for what in (written, revoked))
    operator.until(tidied_up, number, 600)
    return {"logged_in_after": round(took or 0, 1), **interval.end(number)}


def outage(operator, number):
    """Vault is sealed for a minute, and back."""
    interval = Interval(operator)
    vault.call("PUT", "/v1/sys/seal")
    time.sleep(OUTAGE)
    during = {**interval.end(number), "outage_seconds": OUTAGE}
    interval = Interval(operator)
    vault.call("PUT", "/v1/sys/unseal", {"key": os.environ["BED_VAULT_UNSEAL_KEY"]})
    operator.until(connected, number, 600)
    return during, interval.end(number)


def slow_neighbour(operator, number):
    """A tenant with black holes and tarpits: how long a new connection of another one takes, and what the tenant costs."""
    namespace("slow")
    namespace("other")
    kube.call("POST", "/api/v1/namespaces/other/secrets", secret("vault-approle", new_pair()), expect=(201, 409))
    kube.call("POST", "/api/v1/namespaces/slow/secrets", secret("vault-approle", new_pair()), expect=(201, 409))
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        interval = Interval(operator)
        create("slow", [connection(f"s-{index}", url) for index in range(number)])
        before, start = connected(operator.metrics()), time.time()
        create("other", [connection("newcomer")])
        operator.until(connected, before + 1, 120)
        result = {"newcomer_seconds": round(time.time() - start, 1)}
        time.sleep(30)
        result |= interval.end(number)
        delete("slow"), delete("other")
    return result


def foreign_secrets(operator, number):
    """Large Secrets that no connection names and that have no label."""
    interval = Interval(operator)
    path = "/api/v1/namespaces/bench/secrets"
    for index in range(number):
        kube.call("POST", path, secret(f"large-{index}", {"data": "x" * 900_000}, labelled=False))
    time.sleep(2)
    result = interval.end(number)
    for index in range(number):
        kube.call("DELETE", f"{path}/large-{index}")
    return result


def measure(number):
    rows = {}
    wanted = lambda scene: not SCENES or scene in SCENES

    def show(scene, result):
        rows[scene] = result
        print(f"  {scene}: {json.dumps(result)}", flush=True)

    print(f"{number} connections", flush=True)
    if wanted("floor"):
        show("floor", floor(number))
    namespace("bench")
    kube.call("DELETE", "/api/v1/namespaces/bench/secrets/vault-approle", expect=(200, 404))
    kube.call("POST", "/api/v1/namespaces/bench/secrets", secret("vault-approle", new_pair()))
    others = tokens()
    operator = Operator()
    show("idle", dict(zip(("resident_mib", "peak_mib"), operator.memory())))
    interval = Interval(operator)
    created = create("bench", [connection(f"c-{index}") for index in range(number)])
    operator.until(connected, number, 900)
    result = {"created_after": round(created, 1), **interval.end(number)}
    if "floor" in rows:
        result["times_floor"] = round(result["seconds"] / rows["floor"]["sum"], 2)
    show("create", result)
    if wanted("steady"):
        show("steady", steady(operator, number))
        show("scrape", scrape(operator))
    if wanted("rotation"):
        show("rotation", rotation(operator, number))
    if wanted("outage"):
        during, after = outage(operator, number)
        show("outage", during)
        show("return", after)
    if wanted("slow"):
        show("slow tenant", slow_neighbour(operator, max(number // 10, 10)))
    if wanted("foreign"):
        show("foreign secrets", foreign_secrets(operator, 50))
    before = tokens()
    seconds, left = operator.stop(), tokens()
    show("shutdown", {"seconds": round(seconds, 1), "tokens_before": before - others, "tokens_left": left - others})
    if wanted("restart"):
        operator = Operator()
        interval = Interval(operator)
        operator.until(checked, number, 900)
        show("restart", interval.end(number))
        operator.stop()
    delete("bench")
    if wanted("tls") and number == TLS_SIZE:
        first, again = with_tls(min(number, MOST_TLS))
        show("create, TLS", first)
        show("steady, TLS", again)
    return rows


start = time.time()
write_report(OUTPUT, {size: measure(size) for size in SIZES}, BINARY)
print(f"all scenes took {(time.time() - start) / 60:.1f} minutes", flush=True)
