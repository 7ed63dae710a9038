"""Definitions: sources, metrics and experiments as frozen dataclasses, read from YAML with every problem at its line.

Only YAML and the standard library are imported, because every Airflow task process parses the DAG file anew.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path

from abtest_lib.assignment import NAME, Assignment, Layer
from abtest_lib.errors import DefinitionError
from abtest_lib.yaml_fields import CHANNEL, COLUMN, TABLE, Fields, read_mapping

SOURCES_FILE, METRICS_FILE, SUBSCRIPTIONS_FILE = "sources.yaml", "metrics.yaml", "subscriptions.yaml"
SHARED_FILES = (SOURCES_FILE, METRICS_FILE, SUBSCRIPTIONS_FILE)
ENDINGS = (".yaml", ".yml")
KEY = re.compile(r"[a-z][a-z0-9_]{0,62}")
LOOKS = ("horizon", "obrien_fleming", "pocock")
WHEN_LATE = ("hold", "leave_out")


@dataclass(frozen=True)
class ExposureSource:
    """A table with one row each time a unit saw a variant; a plan has one of events without experiment and variant."""

    name: str
    table: str
    experiment: str | None
    unit: str
    variant: str | None
    exposed_at: str
    loaded_at: str | None
    look_back_days: int = 0


@dataclass(frozen=True)
class Completeness:
    """When a night waits for an outcome source, and what the report warns of; see ``abtest_lib.completeness``."""

    least_share: float = 0.6
    most_nulls: float = 0.2
    least_join_share: float = 0.5
    same_join: bool = False


@dataclass(frozen=True)
class OutcomeSource:
    """A table of events or measurements of a unit at a time."""

    name: str
    table: str
    unit: str
    occurred_at: str
    loaded_at: str | None
    look_back_days: int = 0
    # Not part of what is read: with other rules the kept partitions stay.
    completeness: Completeness | None = field(default_factory=Completeness, repr=False)


@dataclass(frozen=True)
class AttributeSource:
    """A table of what is known of a unit apart from outcomes: one row a unit, or with ``known_from`` its history."""

    name: str
    table: str
    unit: str
    known_from: str | None = None


@dataclass(frozen=True)
class ExclusionSource(AttributeSource):
    """A table of units that are not to be counted, such as bots or test accounts; a unit may stand in it repeatedly."""


@dataclass(frozen=True)
class UnitSource:
    """A table with one row a unit that holds its variant and all that was measured, such as an export."""

    name: str
    table: str
    unit: str
    variant: str
    exposed_at: str | None


@dataclass(frozen=True)
class LoadLog:
    """The table in which the loader states that a day of a source is complete."""

    table: str
    source: str
    data_on: str
    loaded_at: str


@dataclass(frozen=True)
class NightLimit:
    """The most that a night may read of the warehouse, over all experiments; None is no limit."""

    megabytes: int | None = None
    seconds: int | None = None


@dataclass(frozen=True)
class Recipients:
    """Who gets a message: e-mail addresses and a Slack channel."""

    email: tuple[str, ...] = ()
    slack: str | None = None


@dataclass(frozen=True)
class SignOff:
    """Who signs a final verdict before anybody is sent it: names of Airflow users or addresses; empty is anybody."""

    by: tuple[str, ...] = ()
    within_hours: int = 12


@dataclass(frozen=True)
class Covariate:
    """A number that was known of a unit before its exposure: a column of an attribute table."""

    source: str
    column: str

    @property
    def attribute(self) -> str:
        """The name used in YAML and results, ``source.column``."""
        return f"{self.source}.{self.column}"


@dataclass(frozen=True)
class Metric:
    """What is measured of a unit, in a window counted from its own first exposure."""

    name: str
    title: str
    description: str
    owner: str
    kind: str
    source: str
    value: str | None
    aggregate: str
    where: tuple[tuple[str, str | int | float | bool], ...]
    delay_days: int
    window_days: int | None  # None is open: all that comes counts
    lag_days: int
    better: str
    nulls: str
    unit: str | None
    covariate: Covariate | None = None
    numerator: Metric | None = None
    denominator: Metric | None = None
    cap: float | None = None
    # Of units' totals before the experiment; a night puts the cap itself beside it (``abtest_lib.caps``).
    cap_quantile: float | None = None
    quantile: float | None = None
    of: str | None = None

    @property
    def is_capped(self) -> bool:
        """Whether the totals of units count up to a fixed value only, on one side of a ratio at least."""
        return any(part.cap is not None or part.cap_quantile is not None for part in self.parts)

    @property
    def parts(self) -> tuple[Metric, ...]:
        """The metrics that are read from the warehouse: both sides of a ratio, else the metric itself."""
        return (self.numerator, self.denominator) if self.numerator and self.denominator else (self,)

    @property
    def maturity_days(self) -> int:
        """Days after its exposure until a unit counts for this metric."""
        return self.delay_days + (self.window_days or 0) + self.lag_days

    @property
    def is_open(self) -> bool:
        """Whether all outcomes up to a night count, so that units are followed for different times."""
        return self.window_days is None

    @property
    def is_share(self) -> bool:
        """Whether each unit is either 0 or 1, so that the mean is a proportion."""
        return self.kind in ("proportion", "retention")

    @property
    def is_of_events(self) -> bool:
        """Whether it is a quantile of rows, of which a unit may have any number, and not of units."""
        return self.kind == "quantile" and self.of == "event"


@dataclass(frozen=True)
class Guardrail:
    """A metric that may get worse by at most ``margin`` (a fraction of the control mean)."""

    metric: str
    margin: float


@dataclass(frozen=True)
class Segment:
    """A column of an attribute table; proved harm to a protected one blocks shipping."""

    source: str
    column: str
    protected: bool

    @property
    def attribute(self) -> str:
        """The name used in YAML and results, ``source.column``."""
        return f"{self.source}.{self.column}"


@dataclass(frozen=True)
class Catalogue:
    """What all experiments share: sources, metrics, who hears of failures."""

    exposures: dict[str, ExposureSource]
    outcomes: dict[str, OutcomeSource]
    attributes: dict[str, AttributeSource]
    load_log: LoadLog | None
    loaded_within_hours: int
    alerts: Recipients
    metrics: dict[str, Metric]
    units: dict[str, UnitSource]
    night_limit: NightLimit
    exclusions: dict[str, ExclusionSource]


@dataclass(frozen=True)
class Experiment:
    """One experiment with everything that its night needs, metrics and sources resolved."""

    key: str
    title: str
    hypothesis: str
    owner: str
    team: str | None
    starts_on: dt.date
    ends_on: dt.date
    control: str
    weights: dict[str, float]
    primary: tuple[str, ...]
    smallest_effect: float
    secondary: tuple[str, ...]
    guardrails: tuple[Guardrail, ...]
    segments: tuple[Segment, ...]
    alpha: float
    looks: str
    minimum_days: int
    notify: Recipients
    alerts: Recipients
    exposures: ExposureSource | None
    outcomes: dict[str, OutcomeSource]
    attributes: dict[str, AttributeSource]
    metrics: dict[str, Metric]
    load_log: LoadLog | None
    loaded_within_hours: int
    units: UnitSource | None = None
    night_limit: NightLimit = NightLimit()
    exclusions: dict[str, ExclusionSource] = field(default_factory=dict)
    activation: Metric | None = None
    assignment: Assignment | None = None
    sign_off: SignOff | None = None
    when_late: str = "hold"

    @property
    def treatments(self) -> tuple[str, ...]:
        """The variants other than control, as written."""
        return tuple(name for name in self.weights if name != self.control)

    @property
    def counts_everyone(self) -> bool:
        """Whether every unit that was exposed within the dates is counted."""
        return not (self.exclusions or self.activation)

    @property
    def measured(self) -> list[Metric]:
        """All that is read of outcomes: the metrics, and what activates a unit."""
        return [*self.metrics.values(), *([self.activation] if self.activation else [])]

    @property
    def parts(self) -> list[Metric]:
        """The parts of all that is read of outcomes."""
        return [part for metric in self.measured for part in metric.parts]

    @property
    def decides_on(self) -> dt.date:
        """The horizon: the first night on which all that the verdict needs is mature."""
        return self.counts_until + dt.timedelta(days=self._maturity_days)

    @property
    def counts_until(self) -> dt.date:
        """No window of a unit begins on this day or later: its enrolment, and the time to be activated, are over."""
        return self.ends_on + dt.timedelta(days=self.activation.window_days if self.activation else 0)

    @property
    def first_look_on(self) -> dt.date:
        """The first night that may test an effect: the horizon, or when ``minimum_days`` of units are mature."""
        if self.looks == "horizon":
            return self.decides_on
        return self.starts_on + dt.timedelta(days=self.minimum_days + self._maturity_days)

    @property
    def _maturity_days(self) -> int:
        """Of the slowest metric that the verdict needs."""
        needed = [*self.primary, *(guardrail.metric for guardrail in self.guardrails)]
        # The last units of an open metric are followed for a day at least.
        return max(self.metrics[name].maturity_days + self.metrics[name].is_open for name in needed)

    def open_until(self, lag_days: int, as_of: dt.date) -> dt.date:
        """The day before which outcomes of an open metric count on a night; after the horizon that of the horizon."""
        return min(as_of, self.decides_on) - dt.timedelta(days=lag_days)

    @property
    def enrolment_days(self) -> int:
        """Days on which windows of units begin by the plan."""
        return (self.counts_until - self.starts_on).days

    @property
    def planned_nights(self) -> int:
        """Nights from the first day of data to the horizon; readings of every night share their error over these."""
        return (self.decides_on - self.starts_on).days

    @property
    def sha256(self) -> str:
        """Fingerprint of all that the numbers depend on: not of titles, recipients and what a night waits for."""
        words = {"title", "hypothesis", "owner", "team", "notify", "alerts", "description", "sign_off"}
        numbers = _without(self.as_json(), {*words, "completeness", "night_limit", "assignment", "when_late"})
        return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).hexdigest()

    def as_json(self) -> dict:
        """The definition as plain values for ``definition.json``."""
        return json.loads(json.dumps(asdict(self), default=str))


def without(experiment: Experiment, metrics: Collection[str]) -> Experiment:
    """Leave secondary metrics out of an experiment, and the sources that only they read.

    Parameters
    ----------
    experiment : Experiment
        Whole.
    metrics : collection of str
        Names of secondary metrics.

    Returns
    -------
    Experiment
        The same one where none is named.

    Examples
    --------
    >>> experiment = load_experiment("experiments", "one_page_checkout")
    >>> without(experiment, {"order_value"}).secondary
    ('revenue_per_user',)
    """
    if not metrics:
        return experiment
    kept = {name: metric for name, metric in experiment.metrics.items() if name not in metrics}
    sources = {part.source for metric in kept.values() for part in metric.parts}
    sources |= {experiment.activation.source} if experiment.activation else set()
    return replace(
        experiment,
        metrics=kept,
        secondary=tuple(name for name in experiment.secondary if name not in metrics),
        outcomes={name: source for name, source in experiment.outcomes.items() if name in sources},
    )


def _without(value, keys):
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    return [_without(v, keys) for v in value] if isinstance(value, list) else value


def experiment_keys(folder: Path | str) -> list[str]:
    """Name the experiments of a folder without reading them.

    Parameters
    ----------
    folder : path
        Holds ``sources.yaml``, ``metrics.yaml``, perhaps ``subscriptions.yaml``, and one ``<key>.yaml`` an experiment.

    Returns
    -------
    list of str
        File names without ending, sorted; a name that is no valid key is listed too, and fails when it is loaded.

    Raises
    ------
    DefinitionError
        If the folder does not exist.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("sources.yaml", "metrics.yaml", "new_ranker.yaml"):
    ...     _ = (folder / name).write_text("")
    >>> experiment_keys(folder)
    ['new_ranker']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DefinitionError(f"{folder}: is not a folder; set ABTEST_EXPERIMENTS to the folder of the definitions.")
    files = [Path(name) for name in os.listdir(folder) if name.endswith(ENDINGS) and name not in SHARED_FILES]
    return sorted(file.stem for file in files)


def _is_listed(folder: Path, key: str) -> bool:
    """Whether ``experiment_keys`` names a key, without reading the folder, which may hold a thousand files."""
    if not key or os.path.basename(key) != key or f"{key}.yaml" in SHARED_FILES:
        return False
    return any(os.path.lexists(folder / f"{key}{ending}") for ending in ENDINGS)


def check_present(folder: Path | str, key: str) -> None:
    """Refuse to go on with a night whose experiment has been removed meanwhile.

    Parameters
    ----------
    folder : path
        As for `experiment_keys`.
    key : str
        The experiment.

    Raises
    ------
    DefinitionError
        If its file is no more there.

    Examples
    --------
    >>> check_present("experiments", "one_page_checkout")
    """
    if key not in experiment_keys(folder):
        raise DefinitionError(
            f"{Path(folder) / key}.yaml: is gone, so this night is given up: nothing of it is published or sent. What "
            "was published before stays. Put the file back and clear this task to go on. If the file was renamed, the "
            "new name is a new experiment without history; backfill its nights to give it one."
        )


def load_catalogue(folder: Path | str) -> Catalogue:
    """Read ``sources.yaml`` and ``metrics.yaml``.

    Parameters
    ----------
    folder : path
        The folder of the definitions.

    Returns
    -------
    Catalogue
        Sources and metrics by name.

    Raises
    ------
    DefinitionError
        With every problem of both files, ``file:line: …`` a line.

    Examples
    --------
    >>> sorted(load_catalogue("experiments").attributes)
    ['customers']
    """
    catalogue, problems = _read_catalogue(Path(folder), _stamp(Path(folder)))
    if problems:
        raise DefinitionError("\n".join(problems))
    return catalogue


def load_experiment(folder: Path | str, key: str) -> Experiment:
    """Read one experiment and resolve its metrics and sources.

    Parameters
    ----------
    folder : path
        The folder of the definitions.
    key : str
        The name of the experiment's file without ``.yaml``.

    Returns
    -------
    Experiment
        Complete and checked.

    Raises
    ------
    DefinitionError
        If the experiment is unknown, or with every problem of its file and of the catalogue.

    Examples
    --------
    >>> load_experiment("experiments", "one_page_checkout").primary
    ('conversion',)
    """
    import difflib

    folder = Path(folder)
    if not _is_listed(folder, key):
        keys = experiment_keys(folder)
        near = difflib.get_close_matches(key, keys, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"there are: {', '.join(keys) or 'none'}."
        raise DefinitionError(f"{folder}: no experiment '{key}'; {hint}")
    catalogue, problems = _read_catalogue(folder, _stamp(folder))
    path = folder / f"{key}.yaml"
    if not path.exists():
        raise DefinitionError(f"{folder / key}.yml: ends in .yml; rename it to {key}.yaml.")
    problems = list(problems)
    found = read_mapping(path, problems)
    if not KEY.fullmatch(key):
        problems.append(f"{path}:1: '{key}' is not a valid key; name the file with a-z, 0-9 and _, a letter first.")
    experiment = _experiment(key, found, catalogue) if found and catalogue else None
    if problems:
        raise DefinitionError("\n".join(problems))
    return experiment


def experiment_from_json(document: Mapping) -> Experiment:
    """Rebuild the experiment that a night was collected with from its ``definition.json``.

    Parameters
    ----------
    document : mapping
        What ``Experiment.as_json`` returned.

    Returns
    -------
    Experiment
        Equal to the one that was written.

    Raises
    ------
    ValueError
        If the document lacks a field of this version of the library.

    Examples
    --------
    >>> experiment = load_experiment("experiments", "one_page_checkout")
    >>> experiment_from_json(experiment.as_json()) == experiment
    True
    """
    missing = {field.name for field in fields(Experiment) if field.default is MISSING} - set(document)
    if missing:
        raise ValueError(f"document lacks {', '.join(sorted(missing))}; it was written by another version")
    named = {
        "exposures": ExposureSource(**document["exposures"]) if document["exposures"] else None,
        "units": UnitSource(**document["units"]) if document.get("units") else None,
        "outcomes": {name: _outcome_from_json(source) for name, source in document["outcomes"].items()},
        "attributes": {name: AttributeSource(**source) for name, source in document["attributes"].items()},
        "load_log": LoadLog(**document["load_log"]) if document["load_log"] else None,
        "metrics": {name: _metric_from_json(metric) for name, metric in document["metrics"].items()},
        "guardrails": tuple(Guardrail(**guardrail) for guardrail in document["guardrails"]),
        "segments": tuple(Segment(**segment) for segment in document["segments"]),
        "primary": tuple(document["primary"]),
        "secondary": tuple(document["secondary"]),
        "starts_on": dt.date.fromisoformat(document["starts_on"]),
        "ends_on": dt.date.fromisoformat(document["ends_on"]),
        "night_limit": NightLimit(**document.get("night_limit", {})),
        "exclusions": {name: ExclusionSource(**one) for name, one in document.get("exclusions", {}).items()},
        "activation": _metric_from_json(document["activation"]) if document.get("activation") else None,
        "assignment": _assignment_from_json(document["assignment"]) if document.get("assignment") else None,
        "sign_off": _sign_off_from_json(document.get("sign_off")),
    }
    for who in ("notify", "alerts"):
        named[who] = Recipients(tuple(document[who]["email"]), document[who]["slack"])
    return Experiment(**{**document, **named})


def _sign_off_from_json(document: Mapping | None) -> SignOff | None:
    return SignOff(tuple(document["by"]), document["within_hours"]) if document else None


def _assignment_from_json(document: Mapping) -> Assignment:
    return Assignment(**{**document, "layer": document["layer"] and Layer(**document["layer"])})


def _outcome_from_json(document: Mapping) -> OutcomeSource:
    rules = document.get("completeness", asdict(Completeness()))
    return OutcomeSource(**{**document, "completeness": rules and Completeness(**rules)})


def _metric_from_json(document: Mapping) -> Metric:
    where = tuple(tuple(pair) for pair in document["where"])
    covariate = Covariate(**document["covariate"]) if document.get("covariate") else None
    sides = {side: document[side] and _metric_from_json(document[side]) for side in ("numerator", "denominator")}
    return Metric(**{**document, "where": where, "covariate": covariate, **sides})


def _stamp(folder: Path) -> tuple:
    """What changes when one of the shared files changes: a folder of 1,000 experiments reads them once."""
    paths = (folder / SOURCES_FILE, folder / METRICS_FILE)
    return tuple((path.stat().st_mtime_ns, path.stat().st_size) if path.exists() else None for path in paths)


@lru_cache(maxsize=8)
def _read_catalogue(folder: Path, _stamp: tuple) -> tuple[Catalogue | None, tuple[str, ...]]:
    problems: list[str] = []
    sources = read_mapping(folder / SOURCES_FILE, problems)
    metrics = read_mapping(folder / METRICS_FILE, problems)
    if sources is None or metrics is None:
        return None, tuple(problems)
    units = {name: _unit_source(name, source) for name, source in sources.named_mappings("units", required=False)}
    exposures, outcomes = (
        {name: read(name, source) for name, source in sources.named_mappings(key, required=not units)}
        for key, read in (("exposures", _exposure_source), ("outcomes", _outcome_source))
    )
    attributes = {
        name: AttributeSource(name, source.text("table", form=TABLE), source.text("unit", form=COLUMN),
                              source.text("known_from", form=COLUMN, required=False))
        for name, source in sources.named_mappings("attributes", required=False)
    }  # fmt: skip
    exclusions = {
        name: ExclusionSource(name, source.text("table", form=TABLE), source.text("unit", form=COLUMN))
        for name, source in sources.named_mappings("exclusions", required=False)
    }
    log = sources.mapping("load_log", required=False)
    load_log = log and LoadLog(
        table=log.text("table", form=TABLE),
        **{name: log.text(name, form=COLUMN, default=name) for name in ("source", "data_on", "loaded_at")},
    )
    hours = sources.whole("loaded_within_hours", default=24, least=0)
    alerts = _recipients(sources.mapping("alerts", required=False))
    limit = sources.mapping("night_limit", required=False)
    most = {name: limit.whole(name, least=1) for name in ("megabytes", "seconds") if limit and name in limit}
    night_limit = NightLimit(**most)
    sources.check_once("outcomes, attributes and units", [n for n in (*outcomes, *attributes) if n in units] + [*units])
    sources.check_once("attributes and exclusions", [*attributes, *exclusions])
    read = _metrics(dict(metrics.items()), outcomes, attributes, units)
    sources.close()
    metrics.close()
    catalogue = Catalogue(
        exposures, outcomes, attributes, load_log, hours, alerts, read, units, night_limit, exclusions
    )
    return catalogue, tuple(problems)


def _exposure_source(name: str, source: Fields) -> ExposureSource:
    columns = {key: source.text(key, form=COLUMN) for key in ("experiment", "unit", "variant", "exposed_at")}
    loaded_at = source.text("loaded_at", form=COLUMN, required=False)
    return ExposureSource(name, source.text("table", form=TABLE), **columns, loaded_at=loaded_at,
                          look_back_days=_look_back(source, loaded_at))  # fmt: skip


def _outcome_source(name: str, source: Fields) -> OutcomeSource:
    columns = {key: source.text(key, form=COLUMN) for key in ("unit", "occurred_at")}
    loaded_at = source.text("loaded_at", form=COLUMN, required=False)
    return OutcomeSource(name, source.text("table", form=TABLE), **columns, loaded_at=loaded_at,
                         look_back_days=_look_back(source, loaded_at), completeness=_completeness(source))  # fmt: skip


def _completeness(source: Fields) -> Completeness | None:
    """The rules of a source; none for the word off."""
    if "completeness" not in source:
        return Completeness()
    found = source.word_or_mapping("completeness", "off")
    if found is None or isinstance(found, str):
        return None
    plain = Completeness()
    shares = {name: found.number(name, above=0, below=1, default=getattr(plain, name))
              for name in ("least_share", "most_nulls", "least_join_share")}  # fmt: skip
    return Completeness(**shares, same_join=found.flag("same_join", default=False))


def _look_back(source: Fields, loaded_at: str | None) -> int:
    """Days whose rows are read anew on every night; a load time says by itself which days have changed."""
    return source.whole("look_back_days", default=0 if loaded_at else 3, least=0)


def _unit_source(name: str, source: Fields) -> UnitSource:
    columns = {key: source.text(key, form=COLUMN) for key in ("unit", "variant")}
    exposed_at = source.text("exposed_at", form=COLUMN, required=False)
    return UnitSource(name, source.text("table", form=TABLE), **columns, exposed_at=exposed_at)


def _recipients(found: Fields | None) -> Recipients:
    if found is None:
        return Recipients()
    return Recipients(found.emails("email"), found.text("slack", form=CHANNEL, required=False))


def _metrics(found: Mapping[str, Fields], outcomes: dict, attributes: dict, units: dict) -> dict[str, Metric]:
    """All metrics; ratios after the others, whose sums they divide."""
    kinds = {}
    for name, fields_of in found.items():
        fields_of.check_name(name)
        kinds[name] = fields_of.choice("kind", ("proportion", "mean", "count", "retention", "ratio", "quantile"))
    read = {
        name: _unit_metric(name, kinds[name], fields_of, units)
        if fields_of.peek("source") in [*units]
        else _metric(name, kinds[name], fields_of, outcomes, attributes)
        for name, fields_of in found.items()
        if kinds[name] != "ratio"
    }
    sums = {name: metric for name, metric in read.items()
            if metric.kind != "quantile" and (metric.kind != "mean" or metric.aggregate == "sum")}  # fmt: skip
    ratios = {name: _ratio(name, found[name], sums) for name, kind in kinds.items() if kind == "ratio"}
    return {name: read.get(name) or ratios[name] for name in found}


def _ratio(name: str, found: Fields, sums: Mapping[str, Metric]) -> Metric:
    """One sum over units over another; it waits for the side that matures later."""
    what = "a metric of metrics.yaml that counts or adds up"
    names = {side: found.reference(side, sums, what) for side in ("numerator", "denominator")}
    sides = {side: sums.get(part) for side, part in names.items()}
    if names["numerator"] and names["numerator"] == names["denominator"]:
        found.problem("denominator", f"is '{names['denominator']}', the numerator too; their ratio is always 1")
    sides = _alike(found, names, sides)
    slower = max(filter(None, sides.values()), key=lambda part: part.maturity_days, default=None)
    return Metric(
        name=name,
        title=found.text("title"),
        description=found.text("description", default=""),
        owner=found.text("owner", default=""),
        kind="ratio",
        source=sides["numerator"].source if sides["numerator"] else None,
        value=None,
        aggregate="sum",
        where=(),
        delay_days=slower.delay_days if slower else 0,
        window_days=slower.window_days if slower else 1,
        lag_days=slower.lag_days if slower else 0,
        better=found.choice("better", ("higher", "lower")),
        nulls="refuse",
        unit=found.text("unit", required=False),
        **sides,
    )


def _alike(found: Fields, names: Mapping[str, str], sides: Mapping[str, Metric | None]) -> dict[str, Metric | None]:
    """Both sides of a ratio; where they are open, they count up to the same day."""
    is_open = {side: part.is_open for side, part in sides.items() if part}
    if len(set(is_open.values())) > 1:
        side = next(side for side in is_open if is_open[side])
        found.problem(side, f"is '{names[side]}', whose window_days is open, and the other side has a window; take two "
                            "that are open, or none")  # fmt: skip
    if not is_open or not all(is_open.values()):
        return dict(sides)
    lag_days = max(part.lag_days for part in sides.values() if part)
    return {side: part and replace(part, lag_days=lag_days) for side, part in sides.items()}


def _unit_metric(name: str, kind: str | None, found: Fields, units: dict) -> Metric:
    """A column of a table with one row a unit: there is no window, and nothing to filter or add up."""
    source = found.text("source")
    if kind == "retention":
        found.problem("kind", f"is retention, but '{source}' has one row a unit and no times; take proportion")
    if kind == "quantile":
        found.problem("kind", f"is quantile, which needs rows with times, but '{source}' has one row a unit; take mean")
    _quantile(found, kind)
    for key in ("aggregate", "where", "delay_days", "window_days", "lag_days", "cap"):
        found.refuse(key, f"is given, but '{source}' has one row a unit with the value itself; leave it out")
    covariate = _attribute(found, "covariate", {source: units[source]}, required=False)
    if covariate and kind == "proportion":
        found.problem("covariate", "is given, but it must stand with kind mean or count, not proportion; leave it out")
    return Metric(
        name=name,
        title=found.text("title"),
        description=found.text("description", default=""),
        owner=found.text("owner", default=""),
        kind=kind,
        source=source,
        value=found.text("value", form=COLUMN),
        aggregate="sum",
        where=(),
        delay_days=0,
        window_days=0,
        lag_days=0,
        better=found.choice("better", ("higher", "lower")),
        nulls=found.choice("nulls", ("refuse", "drop", "zero"), default="refuse"),
        unit=found.text("unit", required=False),
        covariate=covariate and Covariate(*covariate),
    )


def _metric(name: str, kind: str | None, found: Fields, outcomes: dict, attributes: dict) -> Metric:
    delay = found.whole("delay_days", default=1 if kind == "retention" else 0, least=1 if kind == "retention" else 0)
    value = found.text("value", form=COLUMN, required=kind in ("mean", "quantile"))
    if value and kind in ("proportion", "count", "retention"):
        found.problem("value", f"is given, but a {kind} counts rows and reads no value; leave it out")
    covariate = _attribute(found, "covariate", attributes, required=False)
    if covariate and kind in ("proportion", "retention"):
        found.problem("covariate", f"is given, but it must stand with kind mean or count, not {kind}; leave it out")
    cap, cap_quantile = _cap(found)
    if (cap or cap_quantile) and kind in ("proportion", "retention"):
        found.problem("cap", f"is given, but a unit's {kind} is 0 or 1; leave it out")
    window = found.whole_or_word("window_days", "open", least=1)
    if window is None and kind == "retention":
        found.problem("window_days", "is open, but a retention asks who came back within some days; give their number")
    if window is None and cap_quantile:
        found.problem("cap", "is a quantile, but window_days is open, so that no time before the experiment is as "
                             "long; give cap as a number")  # fmt: skip
    quantile, of = _quantile(found, kind)
    if window is None and kind == "quantile":
        found.problem("window_days", "is open, but a quantile is read over windows of equal length; give their number")
    return Metric(
        name=name,
        title=found.text("title"),
        description=found.text("description", default=""),
        owner=found.text("owner", default=""),
        kind=kind,
        source=found.reference("source", outcomes, "an outcome source of sources.yaml"),
        value=value,
        aggregate=found.choice("aggregate", ("sum", "mean"), default="sum"),
        where=found.scalars("where"),
        delay_days=delay,
        window_days=window,
        lag_days=found.whole("lag_days", default=0, least=0),
        better=found.choice("better", ("higher", "lower")),
        nulls=found.choice("nulls", ("refuse", "drop", "zero"), default="refuse"),
        unit=found.text("unit", required=False),
        covariate=covariate and Covariate(*covariate),
        cap=cap,
        cap_quantile=cap_quantile,
        quantile=quantile,
        of=of,
    )


def _cap(found: Fields) -> tuple[float | None, float | None]:
    """A cap as a number, or the share of units that it is above before an experiment."""
    if "cap" not in found:
        return None, None
    cap = found.number_or_mapping("cap", above=0, below=1e300)
    return (None, cap.number("quantile", above=0.5, below=1)) if isinstance(cap, Fields) else (cap, None)


def _quantile(found: Fields, kind: str | None) -> tuple[float | None, str | None]:
    """Which quantile a metric is, and of what; none of another kind."""
    given = [key for key in ("quantile", "of") if key in found]
    if kind != "quantile" and (kind or not given):
        for key in given:
            found.refuse(key, f"is given, but it must stand with kind quantile, not {kind}; leave it out")
        return None, None
    found.refuse("cap", "is given, but large values move no quantile below them; leave it out")
    found.refuse("covariate", "is given, but it adjusts means, not quantiles; leave it out")
    if found.peek("of") == "event":
        found.refuse("aggregate", "is given, but of is event, so that each row counts by itself; leave it out")
    return found.number("quantile", above=0, below=1), found.choice("of", ("event", "unit"))


def _experiment(key: str, found: Fields, catalogue: Catalogue) -> Experiment:
    weights = found.weights("variants")
    control = found.reference("control", weights, "one of variants", default="control")
    starts_on, ends_on = found.date("starts_on"), found.date("ends_on")
    if starts_on and ends_on and ends_on <= starts_on:
        found.problem("ends_on", f"is {ends_on}; it must be later than starts_on, {starts_on}")
    looks, minimum_days = _looks(found, starts_on, ends_on)
    metric_names = catalogue.metrics
    primary = found.references("primary", metric_names, "a metric of metrics.yaml", required=True)
    secondary = found.references("secondary", metric_names, "a metric of metrics.yaml")
    guardrails = tuple(_guardrail(item, metric_names) for item in found.mappings("guardrails"))
    found.check_once("primary, secondary and guardrails", [*primary, *secondary, *(g.metric for g in guardrails)])
    used = {name: metric_names[name] for name in (*primary, *secondary, *(g.metric for g in guardrails))
            if name in metric_names}  # fmt: skip
    _check_open(found, [used[name] for name in primary if name in used], looks)
    units = _units(found, used, catalogue.units)
    if units and not units.exposed_at and looks != "horizon":
        why = f"'{units.name}' has no exposed_at, so that all its units are complete at once"
        found.problem("looks", f"is {looks}, but {why}; leave looks out, or give exposed_at in sources.yaml")
    attributes = {units.name: units} if units else catalogue.attributes
    segments = tuple(s for item in found.mappings("segments") if (s := _segment(item, attributes)))
    found.check_once("segments", [segment.attribute for segment in segments])
    covariates = [metric.covariate for metric in used.values() if metric.covariate]
    exposures = None if units else _exposures(found, catalogue)
    exclude, activation = _counted(found, catalogue, units)
    read = [*used.values(), *([activation] if activation else [])]
    experiment = Experiment(
        key=key,
        title=found.text("title"),
        hypothesis=found.text("hypothesis"),
        owner=found.email("owner"),
        team=found.text("team", required=False),
        starts_on=starts_on,
        ends_on=ends_on,
        control=control,
        weights=weights,
        primary=primary,
        smallest_effect=found.number("smallest_effect", above=0, below=10),
        secondary=secondary,
        guardrails=guardrails,
        segments=segments,
        alpha=found.number("alpha", default=0.05, above=0, below=0.5),
        looks=looks,
        minimum_days=minimum_days,
        notify=_recipients(found.mapping("notify", required=False)),
        alerts=catalogue.alerts,
        exposures=catalogue.exposures.get(exposures),
        units=units,
        outcomes={
            part.source: catalogue.outcomes[part.source]
            for metric in read
            for part in metric.parts
            if part.source in catalogue.outcomes and not units
        },
        attributes={} if units else {s.source: catalogue.attributes[s.source] for s in (*segments, *covariates)},
        metrics=used,
        load_log=catalogue.load_log,
        loaded_within_hours=catalogue.loaded_within_hours,
        night_limit=catalogue.night_limit,
        exclusions={name: catalogue.exclusions[name] for name in exclude if name in catalogue.exclusions},
        activation=activation,
        assignment=_assignment(key, found, weights, units),
        sign_off=_sign_off(found),
        when_late=_when_late(found, units),
    )
    found.close()
    return experiment


def _check_open(found: Fields, primary: list[Metric], looks: str | None) -> None:
    """Looks before the horizon find effects that are none too often where units are followed for different times."""
    for metric in primary:
        if metric.is_open and looks in LOOKS[1:]:
            found.problem("primary", f"has '{metric.name}', whose window_days is open, so that its units are followed "
                                     "for different times; leave looks out, or take one with a window")  # fmt: skip


def _counted(found: Fields, catalogue: Catalogue, units: UnitSource | None) -> tuple[tuple[str, ...], Metric | None]:
    """Lists of units that are not counted, and what a unit must do to be: a share of the catalogue, in its window."""
    if units:
        for key in ("exclude", "activation"):
            found.refuse(key, f"is given, but '{units.name}' has one row a unit; leave such units out of the table")
        return (), None
    exclude = found.references("exclude", catalogue.exclusions, "an exclusion source of sources.yaml")
    found.check_once("exclude", exclude)
    shares = {name: one for name, one in catalogue.metrics.items()
              if one.kind == "proportion" and not one.delay_days and not one.is_open
              and one.source in catalogue.outcomes}  # fmt: skip
    what = "a metric of metrics.yaml of kind proportion, without delay_days and not of a table with one row a unit"
    return exclude, shares.get(found.reference("activation", shares, what, required=False))


def _when_late(found: Fields, units: UnitSource | None) -> str:
    """What becomes of a night whose sources are not complete in time."""
    if units:
        found.refuse("when_late", f"is given, but '{units.name}' is one table with all metrics; leave it out")
        return WHEN_LATE[0]
    return found.choice("when_late", WHEN_LATE, default=WHEN_LATE[0])


ASSIGNMENT_NAME = (NAME, "a name of letters, digits, '_', '.' and '-', at most 100 of them")


def _sign_off(found: Fields) -> SignOff | None:
    given = found.flag_or_mapping("sign_off")
    if isinstance(given, bool):
        return SignOff() if given else None
    hours = given.whole("within_hours", least=1, default=SignOff.within_hours)
    if hours > 23:
        given.problem("within_hours", f"is {hours}; it must be at most 23, because the next night waits for the answer")
    return SignOff(given.people("by"), hours)


def _assignment(key: str, found: Fields, weights: Mapping[str, float], units: UnitSource | None) -> Assignment | None:
    """How the units got their variants, where that was by ``abtest_lib.assignment``."""
    if units:
        found.refuse("assignment", f"is given, but '{units.name}' has one row a unit, which is not compared with it; "
                                   "leave it out")  # fmt: skip
        return None
    given = found.mapping("assignment", required=False)
    if given is None:
        return None
    salt = given.text("salt", form=ASSIGNMENT_NAME, default=key)
    share = given.fraction("share", default=1.0, above_zero=True)
    layer = _layer(given.mapping("layer", required=False))
    weighted = len(weights) > 1 and all(weight > 0 for weight in weights.values())
    return Assignment(salt, weights, share, layer) if salt and weighted else None


def _layer(found: Fields | None) -> Layer | None:
    if found is None:
        return None
    name = found.text("name", form=ASSIGNMENT_NAME)
    start, end = found.fraction("start", default=0.0), found.fraction("end", default=1.0)
    if start >= end:
        found.problem("end", f"is {end:g}; it must be above start, {start:g}")
        return None
    return name and Layer(name, start, end)


def _exposures(found: Fields, catalogue: Catalogue) -> str | None:
    only = next(iter(catalogue.exposures)) if len(catalogue.exposures) == 1 else None
    return found.reference("exposures", catalogue.exposures, "an exposure source of sources.yaml", default=only)


def _units(found: Fields, used: Mapping[str, Metric], units: Mapping[str, UnitSource]) -> UnitSource | None:
    """The unit-level table that all metrics read; None when they read events."""
    sources = {part.source: metric.name for metric in used.values() for part in metric.parts}
    names = [name for name in sources if name in units]
    if not names:
        return None
    for other in sources:
        if other != names[0]:
            apart = f"which has one row a unit, but '{sources[other]}' reads '{other}'"
            found.problem("primary", f"stands with metrics of '{names[0]}', {apart}; take all metrics from one of them")
    found.refuse("exposures", f"is given, but '{names[0]}' holds the units' variants; leave it out")
    return units[names[0]]


def _looks(found: Fields, starts_on: dt.date | None, ends_on: dt.date | None) -> tuple[str, int]:
    """How effects are tested while the experiment runs, and after how many days of units that may begin."""
    looks = found.choice("looks", LOOKS, default="horizon")
    given = "minimum_days" in found
    days = found.whole("minimum_days", default=7, least=1)
    planned = (ends_on - starts_on).days if starts_on and ends_on and ends_on > starts_on else None
    if given and looks == "horizon":
        found.problem("minimum_days", "is given, but looks is horizon, which decides once; leave it out, or set looks")
    elif looks in LOOKS[1:] and planned is not None and days > planned:
        where = "minimum_days" if given else "looks"
        found.problem(where, f"needs {days} days of units before the first look, but the enrolment has {planned}; set "
                             f"minimum_days to at most {planned}, or leave looks out")  # fmt: skip
    return looks, days


def _guardrail(found: Fields, metrics: Mapping) -> Guardrail:
    metric = found.reference("metric", metrics, "a metric of metrics.yaml")
    if metric in metrics and metrics[metric].is_open:
        found.problem("metric", f"is '{metric}', whose window_days is open, but harm is read on every night; take a "
                                "metric with a window")  # fmt: skip
    return Guardrail(metric, found.number("margin", above=0, below=1))


def _segment(found: Fields, attributes: Mapping) -> Segment | None:
    attribute = _attribute(found, "attribute", attributes)
    protected = found.flag("protected", default=False)
    return attribute and Segment(*attribute, protected)


def _attribute(found: Fields, key: str, attributes: Mapping, *, required: bool = True) -> tuple[str, str] | None:
    """Source and column that SOURCE.COLUMN names."""
    attribute = found.text(key, required=required)
    source, _, column = (attribute or "").partition(".")
    if attribute is None:
        return None
    if source not in attributes or not COLUMN[0].fullmatch(column):
        tables = [name for name, one in attributes.items() if isinstance(one, UnitSource)]
        any_source = "SOURCE.COLUMN with an attribute source of sources.yaml"
        what = f"a column of the same table, {tables[0]}.COLUMN" if tables else any_source
        found.problem(key, f"is '{attribute}'; it must be {what}")
        return None
    return source, column
