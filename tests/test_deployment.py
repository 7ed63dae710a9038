"""The Compose file, its image and its lock, judged by reading: no container engine is needed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from airflow.configuration import conf

ROOT = Path(__file__).parents[1]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
AIRFLOW = sorted(name for name in SERVICES if name.startswith("airflow-"))
COMPONENTS = [name for name in AIRFLOW if name != "airflow-init"]
SECRETS = {
    "POSTGRES_PASSWORD",
    "REDIS_PASSWORD",
    "ABTEST_ADMIN_PASSWORD",
    "AIRFLOW__CORE__FERNET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW_CONN_ABTEST_SMTP",
    "AIRFLOW_CONN_ABTEST_SLACK",
}
# From the provider's own description (3.26.0); it is not installed where the tests run.
CELERY_OPTIONS = {"broker_url", "result_backend", "worker_concurrency"}


def interpolations() -> list[tuple[str, str]]:
    """Return (variable, what follows its name) of each ``${…}`` outside comments."""
    code = re.sub(r"^\s*#.*$", "", COMPOSE_TEXT, flags=re.MULTILINE)
    return re.findall(r"(?<!\$)\$\{(\w+)([^}]*)\}", code)


def example() -> dict[str, str]:
    lines = (line for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def pins(lock: str) -> dict[str, set[str]]:
    """Return the versions of each package; two where Python versions differ."""
    versions: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([a-z0-9][\w.-]*)==([^\s;]+)", (ROOT / lock).read_text(), flags=re.MULTILINE):
        versions.setdefault(name, set()).add(version)
    return versions


@pytest.fixture(scope="module")
def specification() -> jsonschema.protocols.Validator:
    schema = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text())
    return jsonschema.validators.validator_for(schema)(schema)


def test_compose_file_follows_the_specification(specification: jsonschema.protocols.Validator) -> None:
    assert [error.message for error in specification.iter_errors(COMPOSE)] == []


def test_misspelt_key_breaks_the_specification(specification: jsonschema.protocols.Validator) -> None:
    misspelt = COMPOSE | {"services": SERVICES | {"redis": SERVICES["redis"] | {"healthchek": {}}}}
    assert not specification.is_valid(misspelt)


def test_every_expected_service_is_there() -> None:
    assert COMPONENTS == [
        "airflow-apiserver",
        "airflow-dag-processor",
        "airflow-scheduler",
        "airflow-triggerer",
        "airflow-worker",
    ]
    assert {"postgres", "redis", "airflow-init"} <= set(SERVICES)


def test_unset_secret_stops_compose() -> None:
    required = {name for name, rest in interpolations() if rest.startswith(":?")}
    assert SECRETS - required == {"AIRFLOW_CONN_ABTEST_SLACK"}, "only Slack can be left out"
    unguarded = {name for name, rest in interpolations() if name in required and not rest.startswith(":?")}
    assert unguarded == set()


def test_secret_has_no_default() -> None:
    assert {rest for name, rest in interpolations() if name == "AIRFLOW_CONN_ABTEST_SLACK"} == {":-"}
    assert {name: value for name, value in example().items() if name in SECRETS and value} == {}


def test_secret_is_never_written_out() -> None:
    secretive = re.compile(r"PASSWORD|SECRET|FERNET|TOKEN|_AUTH$")
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if secretive.search(name):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{name} must come from .env alone"
    assert set(re.findall(r"://[^@\s]*:([^@\s]*?)@", re.sub(r":\?[^}]*", "", COMPOSE_TEXT))) == {
        "${POSTGRES_PASSWORD}",
        "${REDIS_PASSWORD}",
    }


def test_compose_and_example_name_the_same_variables() -> None:
    assert {name for name, _ in interpolations()} == set(example())


def test_example_and_compose_agree_on_defaults() -> None:
    defaults = {name: rest[2:] for name, rest in interpolations() if rest.startswith(":-")}
    assert {name: example()[name] for name in defaults} == defaults


def test_published_ports_are_on_the_loopback_address() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert not any(service.get("network_mode") for service in SERVICES.values())


def test_stores_are_on_an_internal_network() -> None:
    for name in ("postgres", "redis"):
        assert SERVICES[name]["networks"] == ["backend"]
        assert "ports" not in SERVICES[name]
    assert COMPOSE["networks"]["backend"] == {"internal": True}


def test_images_are_pinned() -> None:
    images = {service["image"] for service in SERVICES.values()} | set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M))
    assert len(images) == 4
    assert {image for image in images if not re.fullmatch(r"[\w-]+:\d+\.\d+(\.\d+)?(-[\w-]+)?", image)} == set()


def test_every_service_has_a_health_check_or_is_one_shot() -> None:
    for name, service in SERVICES.items():
        one_shot = service.get("restart") == "no"
        assert one_shot == (name == "airflow-init")
        assert ("healthcheck" in service) != one_shot, name


def test_waited_for_services_report_what_is_waited_for() -> None:
    for service in SERVICES.values():
        for other, wait in service.get("depends_on", {}).items():
            one_shot = SERVICES[other].get("restart") == "no"
            assert wait["condition"] == ("service_completed_successfully" if one_shot else "service_healthy")


def test_components_that_run_tasks_wait_for_the_api_server() -> None:
    for name in set(COMPONENTS) - {"airflow-apiserver"}:
        assert {"postgres", "redis", "airflow-init", "airflow-apiserver"} == set(SERVICES[name]["depends_on"])


def test_airflow_services_share_image_settings_and_volumes() -> None:
    first = SERVICES[COMPONENTS[0]]
    for name in COMPONENTS:
        for key in ("image", "environment", "volumes", "user", "cap_drop", "security_opt", "networks"):
            assert SERVICES[name][key] == first[key], f"{name}: {key}"
    init = SERVICES["airflow-init"]
    assert first["environment"].items() <= init["environment"].items()
    assert init["image"] == first["image"]
    assert [name for name, service in SERVICES.items() if "build" in service] == ["airflow-init"]


def test_code_is_in_the_image_and_not_mounted() -> None:
    for folder in ("dags", "plugins"):
        assert f"COPY {folder}/ /opt/airflow/{folder}/" in DOCKERFILE
    targets = {volume["target"] for name in AIRFLOW for volume in SERVICES[name]["volumes"]}
    assert targets == {f"/opt/airflow/{name}" for name in ("logs", "results", "experiments", "warehouse")}


def test_folders_of_the_host_are_read_only_and_must_exist() -> None:
    binds = [volume for name in AIRFLOW for volume in SERVICES[name]["volumes"] if volume["type"] == "bind"]
    assert binds
    assert all(bind["read_only"] and bind["bind"] == {"create_host_path": False} for bind in binds)


def test_named_volumes_are_declared() -> None:
    used = {v["source"] for service in SERVICES.values() for v in service["volumes"] if v["type"] == "volume"}
    assert used == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", sorted(n for n in SERVICES[AIRFLOW[0]]["environment"] if n.startswith("AIRFLOW__")))
def test_airflow_setting_exists(name: str) -> None:
    _, section, option = name.lower().split("__")
    options = set(conf.configuration_description[section]["options"])
    assert option in (options | CELERY_OPTIONS if section == "celery" else options), f"no such setting: {name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor"),
        ("AIRFLOW__CORE__LOAD_EXAMPLES", "False"),
        ("AIRFLOW__API__EXPOSE_CONFIG", "False"),
        (
            "AIRFLOW__CORE__AUTH_MANAGER",
            "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        ),
    ],
)
def test_setting_is_fit_for_a_server(name: str, value: str) -> None:
    assert {SERVICES[component]["environment"][name] for component in COMPONENTS} == {value}


def test_waiting_runs_cannot_starve_backfills() -> None:
    environment = SERVICES["airflow-scheduler"]["environment"]
    assert int(environment["AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE"]) >= 500


def test_nothing_of_airflow_runs_as_root() -> None:
    assert {SERVICES[name]["user"] for name in AIRFLOW} == {"50000:0"}
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.M) == ["50000:0"]


def test_image_installs_the_lock_by_hash_and_then_the_product() -> None:
    steps = re.findall(r"^RUN pip install (.+)$", DOCKERFILE, re.M)
    assert steps == [
        "--require-hashes --only-binary=:all: -r requirements-server.lock",
        "--no-deps --no-build-isolation --no-index .",
    ]


@pytest.mark.parametrize(
    ("executor", "component", "preloaded"),
    [
        ("CeleryExecutor", "worker", True),
        ("CeleryExecutor", "scheduler", False),
        ("LocalExecutor", "scheduler", True),
        ("LocalExecutor", "triggerer", False),
    ],
)
def test_libraries_are_imported_once_in_the_process_that_tasks_are_forks_of(
    executor: str, component: str, preloaded: bool
) -> None:
    assert "COPY config/ /opt/airflow/config/" in DOCKERFILE
    code = (
        "import sys; sys.argv = ['airflow', sys.argv[1]]; import airflow_local_settings; "
        "print({'duckdb', 'scipy.special', 'abtest_lib.state.night', 'abtest_lib.report.charts'} <= set(sys.modules))"
    )
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "config"), str(ROOT)]),
        "AIRFLOW__CORE__EXECUTOR": executor,
    }
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code, component], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == str(preloaded)


def test_build_context_has_what_is_copied_and_no_secrets() -> None:
    ignore = (ROOT / ".dockerignore").read_text().split()
    assert ignore[0] == "*"
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    copied = {
        source.rstrip("/")
        for line in re.findall(r"^COPY (?!<<)(.+)$", DOCKERFILE, re.M)
        for source in line.split()[:-1]
    }
    assert copied == allowed
    assert not any(name.startswith(".env") for name in allowed)


def test_server_lock_agrees_with_the_lock_the_tests_run_on() -> None:
    tested, server = pins("requirements.lock"), pins("requirements-server.lock")
    assert set(tested) <= set(server)
    assert {name for name in tested if tested[name] != server[name]} == set()


def test_every_pin_of_the_server_lock_has_a_hash() -> None:
    text = (ROOT / "requirements-server.lock").read_text()
    entries = re.findall(r"^[a-z0-9][\w.-]*==.*(?:\n .*)*", text, flags=re.MULTILINE)
    assert {entry.split("==")[0] for entry in entries} == set(pins("requirements-server.lock"))
    assert [entry.split("\n")[0] for entry in entries if "--hash=sha256:" not in entry] == []
