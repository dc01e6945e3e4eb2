"""RunSpec: one training run as a frozen value. Its content hash guards the run's record.

Fields at their default stay out of the hash, so that a new field orphans no old record.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields, replace

NOISES = ("none", "agnostic", "asymmetric", "pair")
SPACES = ("gradient", "logit", "last_layer", "feature", "loss", "forgetting")
WEIGHTS = ("uniform", "natural", "cluster", "ball", "class")
UNITS = ("absolute", "median")
PRECISIONS = ("fp32", "bf16", "auto")
STEPS = ("plain", "reweight", "raw_clusters")


class SpecError(ValueError):
    """A field of a RunSpec breaks its rule; the message names field, rule and value."""


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the numbers of a run; device, paths and process layout are not among it."""

    # data
    dataset: str = "cifar10"
    sample: bool = False  # the committed sample instead of the real set (smoke scale)
    subset: int = 0  # training images kept, stratified by class; 0 = all
    test_subset: int = 0  # test images kept, stratified by class; 0 = all
    test_every: int = 1  # epochs between tests; the last epoch is always tested
    holdout: float = 0.0  # share of the (noisy) training set kept aside to choose an epoch
    noise: str = "none"  # none | agnostic | asymmetric | pair
    noise_rate: float = 0.0  # probability that a label is flipped
    noise_map: tuple = ()  # asymmetric noise: ((from class, to class), ...), class numbers
    # optimisation
    model: str = "resnet32"
    seed: int = 0
    epochs: int = 120
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple = ()  # epochs after which lr is multiplied by gamma; () = constant
    gamma: float = 0.1
    precision: str = "fp32"  # fp32 | bf16 (autocast) | auto (bf16 where a step is faster in it)
    compiled: bool = False  # torch.compile for full batches: other rounding, a minute of compiling, then faster steps
    # selection
    method: str = "full"  # key of robustfl.selection.SELECTORS
    ratio: float = 1.0  # picks / points, per class (set cover: clusters / points, whole set)
    # gradient (of the penultimate features) | logit (p - y) | last_layer (its weights and bias) | feature (penultimate layer) |
    # loss | forgetting events of the pretraining run
    space: str = "gradient"
    # what the points are made of: eval | train (batch statistics and augmented images, and the running statistics follow;
    # gradients of the batch's mean loss, as in the released code of CRUST)
    gradient_mode: str = "eval"
    # uniform | natural (the selector's own) | cluster (sizes) | ball (points within radius) | class (points of the given class)
    weights: str = "uniform"
    normalise: str = "subset"  # weights have mean 1 over the subset | over each batch
    radius: float = 0.0  # of the balls, in radius_unit; L2 in `space`
    radius_unit: str = "absolute"  # absolute | median (multiples of the class's median distance)
    # shuffled | greedy (within-class greedy order, classes interleaved by rank) | within_class (a shuffle within each class,
    # classes interleaved by rank)
    order: str = "shuffled"
    order_seed: int = 0  # another shuffle of the same run: an A/A control differs in this alone
    representative: str = (
        "facility"  # facility | sampled (one point drawn from the facility's cluster)
    )
    every: int = 1  # epochs between selections
    warmup: int = 0  # epochs on the full set before the first selection
    pretrained: bool = False  # points come from the finished `pretraining()` run, selected once
    final_ratio: float = (
        0.0  # curriculum: ratio grows linearly to this in the last epoch; 0 = stays
    )
    # beyond selection
    steps: str = "plain"  # key of robustfl.execution.run.STEPS: plain | reweight | raw_clusters
    mix: bool = False  # mix each image with one of its class, CRUST's lambda ~ Beta(1, 0.1)
    # picks (a partner among the picks, a lambda an image, from the first selection on) | released (a partner among all points
    # of the given class, a lambda a batch, from the epoch after the first selection on)
    mixing: str = "picks"
    clean_set: int = 0  # training images whose true labels `reweight` may see

    def __post_init__(self) -> None:
        for field in ("milestones", "noise_map"):
            if not isinstance(getattr(self, field), (list, tuple)):
                raise SpecError(f"{field} must be a list; got {getattr(self, field)!r}")
        for field in fields(self):  # YAML and JSON give lists; a frozen value holds tuples
            value = getattr(self, field.name)
            if field.type == "tuple":
                object.__setattr__(
                    self, field.name, tuple(tuple(v) if isinstance(v, list) else v for v in value)
                )
            elif (
                field.type == "float"
                and isinstance(value, int)
                and not isinstance(value, bool)
                and abs(value) < 2**53
            ):
                object.__setattr__(self, field.name, float(value))
        _check(self)

    @property
    def hash(self) -> str:
        """16 hex digits of the sha256 of the non-default fields."""
        changed = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if getattr(self, f.name) != f.default
        }
        return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:16]

    def asdict(self) -> dict:
        """Plain JSON values, every field."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: dict) -> RunSpec:
        """Inverse of asdict. Raises SpecError on an unknown field."""
        if not isinstance(values, dict):
            raise SpecError(
                f"spec must be a mapping of RunSpec's fields; got {type(values).__name__}"
            )
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise SpecError(f"field must be one of RunSpec's; got {unknown}")
        return cls(**values)

    @property
    def identity(self) -> str:
        """The hash of what is trained, whatever is measured of it and in whichever precision."""
        return replace(self, precision="fp32", **MEASURED).hash

    def accepts(self, held: RunSpec) -> bool:
        """Whether a record of `held` is one of this run: the same training, in this precision unless that is `auto`."""
        return self.identity == held.identity and self.precision in ("auto", held.precision)

    def pretraining(self) -> RunSpec:
        """The run on the whole set whose final model gives a pretrained selection its points."""
        plain = {f.name: f.default for f in fields(self) if f.name in SELECTION_FIELDS}
        return replace(self, **plain)


# Fields that say how a run is measured and change nothing of it, with their defaults.
MEASURED = {"test_subset": 0, "test_every": 1}
SELECTION_FIELDS = frozenset(
    "method ratio space gradient_mode weights normalise radius radius_unit order order_seed representative every warmup "
    "pretrained final_ratio steps mix mixing clean_set".split()
)


def _check(s: RunSpec) -> None:
    def need(field: str, ok: bool, rule: str) -> None:
        if not ok:
            raise SpecError(f"{field} must be {rule}; got {getattr(s, field)!r}")

    kinds = {
        "int": (int, "an integer"),
        "float": (float, "a finite number"),
        "bool": (bool, "true or false"),
        "str": (str, "text"),
    }
    for f in fields(s):
        kind, rule = kinds.get(f.type, (tuple, "a list"))
        value = getattr(s, f.name)
        need(f.name, type(value) is kind and (kind is not float or math.isfinite(value)), rule)
    for field, allowed in (
        ("noise", NOISES),
        ("space", SPACES),
        ("weights", WEIGHTS),
        ("radius_unit", UNITS),
        ("optimizer", ("sgd", "adam")),
        ("precision", PRECISIONS),
        ("gradient_mode", ("eval", "train")),
        ("order", ("greedy", "within_class", "shuffled")),
        ("representative", ("facility", "sampled")),
        ("mixing", ("picks", "released")),
        ("normalise", ("subset", "batch")),
    ):
        need(field, getattr(s, field) in allowed, f"one of {', '.join(allowed)}")
    for field in ("epochs", "batch_size", "every", "test_every"):
        need(field, getattr(s, field) >= 1, "an integer >= 1")
    for field in ("seed", "subset", "test_subset", "order_seed", "warmup", "clean_set"):
        need(field, getattr(s, field) >= 0, "an integer >= 0")
    need(
        "warmup",
        s.warmup == 0 or s.warmup < s.epochs,
        f"less than epochs ({s.epochs}), or nothing is ever selected",
    )
    need("ratio", 0 < s.ratio <= 1, "in (0, 1]")
    need("noise_rate", 0 <= s.noise_rate < 1, "in [0, 1)")
    need("holdout", 0 <= s.holdout < 1, "in [0, 1)")
    for field in ("lr", "gamma"):
        need(field, getattr(s, field) > 0, "> 0")
    for field in ("momentum", "weight_decay"):
        need(field, getattr(s, field) >= 0, ">= 0")
    need("radius", s.radius >= 0, ">= 0")
    need("radius", s.weights != "ball" or s.radius > 0, "> 0 when weights is ball")
    need("noise_rate", (s.noise == "none") == (s.noise_rate == 0), "0 exactly when noise is none")
    need(
        "noise_map",
        bool(s.noise_map) == (s.noise == "asymmetric"),
        "given exactly when noise is asymmetric",
    )
    whole = (type(m) is int and m >= 1 for m in s.milestones)
    need("milestones", all(whole), "integers >= 1")
    pairs = (
        isinstance(p, tuple) and len(p) == 2 and all(type(c) is int and c >= 0 for c in p)
        for p in s.noise_map
    )
    need("noise_map", all(pairs), "pairs of class numbers")
    need("milestones", all(a < b for a, b in zip(s.milestones, s.milestones[1:])), "increasing")
    need("final_ratio", s.final_ratio == 0 or s.ratio <= s.final_ratio <= 1, "0 or in [ratio, 1]")
    need("steps", s.steps in STEPS, f"one of {', '.join(STEPS)}")
    need(
        "clean_set",
        (s.clean_set > 0) == (s.steps == "reweight"),
        "> 0 exactly when steps is reweight",
    )
    need(
        "space",
        s.space != "forgetting" or s.pretrained,
        "of a current model unless pretrained is true",
    )
    need(
        "steps",
        s.pretrained or s.steps != "raw_clusters",
        "plain or reweight unless pretrained is true",
    )
    need("warmup", not (s.pretrained and s.warmup), "0 for a pretrained selection")
    need(
        "gradient_mode",
        not (s.pretrained and s.gradient_mode == "train"),
        "eval for a pretrained selection",
    )
    need("mixing", s.mix or s.mixing == "picks", "picks unless mix is true")
    need("order_seed", s.order_seed == 0 or s.order != "greedy", "0 for the greedy order")
