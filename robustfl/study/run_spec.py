"""RunSpec: one training run as a frozen value. Its content hash guards the run's record.

Fields at their default stay out of the hash, so that a new field orphans no old record. A field
that was renamed is hashed under its first name, `hash_as`, so that a rename orphans none either. A
field's rule and help stand beside its default; rules between fields stand below, in CROSS_RULES.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from robustfl.data import label_noise
from robustfl.study.field_rules import Each, broken, rule, rule_of

NOISES = ("none", *label_noise.NOISES)
EMBEDDINGS = ("gradient", "logit", "last_layer", "feature", "loss", "forgetting")
WEIGHTS = ("uniform", "from_selector", "cluster", "ball", "class")
UNITS = ("absolute", "median")
PRECISIONS = ("fp32", "bf16", "auto")

# The keys of two registries that import torch, for those who must not; a test compares them.
UPDATE_RULES = (  # robustfl.execution.run.UPDATE_RULES
    "plain",
    "reweight",
    "raw_clusters",
)
MODELS = tuple(  # robustfl.training.resnet.MODELS
    f"resnet{depth}{stem}" for stem in ("", "_stride2") for depth in (8, 14, 20, 32, 44, 56)
)


class SpecError(ValueError):
    """A field of a RunSpec breaks its rule; the message names field, rule and value."""


def _is_pair(entry: Any) -> bool:
    return (
        isinstance(entry, tuple)
        and len(entry) == 2
        and all(type(number) is int and number >= 0 for number in entry)
    )


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides the numbers of a run; device, paths and processes are not in it.

    Raises SpecError for a value that its field or a rule between fields does not allow.
    """

    # data
    dataset: str = rule("cifar10", "key of robustfl.data.DATASETS")
    use_sample: bool = rule(
        False, "the committed sample instead of the real set (smoke scale)", hash_as="sample"
    )
    train_size: int = rule(
        0, "training images kept, stratified by class; 0 = all", least=0, hash_as="subset"
    )
    test_size: int = rule(
        0,
        "test images kept, stratified by class; 0 = all",
        least=0,
        of="measurement",
        hash_as="test_subset",
    )
    test_interval: int = rule(
        1,
        "epochs between tests; the last epoch is always tested",
        least=1,
        of="measurement",
        hash_as="test_every",
    )
    holdout: float = rule(
        0.0, "share of the (noisy) training set kept aside to choose an epoch", least=0, below=1
    )
    noise: str = rule(
        "none",
        f"kind of label noise: {' | '.join(NOISES)}; the slides call symmetric noise agnostic",
        one_of=NOISES,
        renamed={"agnostic": "symmetric"},
    )
    noise_rate: float = rule(0.0, "probability that a label is flipped", least=0, below=1)
    noise_map: tuple = rule(
        (),
        "asymmetric noise: ((from class, to class), ...), class numbers",
        each=Each(_is_pair, "pairs of class numbers"),
    )

    # optimisation
    model: str = rule("resnet32", "key of robustfl.training.resnet.MODELS")
    seed: int = rule(0, "of everything random: noise, hold-out, initial weights, batches", least=0)
    epochs: int = rule(120, "epochs of training", least=1)
    batch_size: int = rule(128, "images per step", least=1)
    optimizer: str = rule("sgd", "sgd | adam", one_of=("sgd", "adam"))
    lr: float = rule(0.1, "learning rate of the first epoch", above=0)
    momentum: float = rule(0.9, "of sgd", least=0)
    weight_decay: float = rule(5e-4, "L2 penalty", least=0)
    milestones: tuple = rule(
        (),
        "epochs after which lr is multiplied by gamma; () = constant",
        each=Each(lambda epoch: type(epoch) is int and epoch >= 1, "integers >= 1"),
    )
    gamma: float = rule(0.1, "factor of lr at each milestone", above=0)
    precision: str = rule(
        "fp32", "fp32 | bf16 (autocast) | auto (bf16 where a step is faster)", one_of=PRECISIONS
    )
    torch_compile: bool = rule(
        False,
        "torch.compile for full batches: rounds otherwise, compiles a minute, then is faster",
        hash_as="compiled",
    )

    # selection
    method: str = rule("full", "key of robustfl.selection.SELECTORS", of="selection")
    ratio: float = rule(
        1.0,
        "picks / points, per class (set cover: clusters / points, whole set)",
        above=0,
        most=1,
        of="selection",
    )
    embedding: str = rule(
        "gradient",
        "gradient (of the penultimate features) | logit (p - y) | last_layer (its weights and bias)"
        " | feature (penultimate layer) | loss | forgetting (events of the pretraining run)",
        one_of=EMBEDDINGS,
        of="selection",
        hash_as="space",
    )
    gradient_mode: str = rule(
        "eval",
        "the model and images that points are made of: eval | train (batch statistics, augmented"
        " images, moving running statistics, gradients of the batch's mean loss, as CRUST's code)",
        one_of=("eval", "train"),
        of="selection",
    )
    weights: str = rule(
        "uniform",
        "uniform | from_selector (its own weights) | cluster (sizes) | ball (points within radius)"
        " | class (points of the given class)",
        one_of=WEIGHTS,
        renamed={"natural": "from_selector"},
        of="selection",
    )
    normalise: str = rule(
        "subset",
        "weights have mean 1 over the subset | over each batch",
        one_of=("subset", "batch"),
        of="selection",
    )
    radius: float = rule(
        0.0, "of the balls, in radius_unit; L2 in `embedding`", least=0, of="selection"
    )
    radius_unit: str = rule(
        "absolute",
        "absolute | median (multiples of the class's median distance)",
        one_of=UNITS,
        of="selection",
    )
    batch_order: str = rule(
        "shuffled",
        "of the picks in an epoch: shuffled | greedy (greedy order within each class, classes"
        " interleaved by rank) | within_class (a shuffle within each class, likewise interleaved)",
        one_of=("greedy", "within_class", "shuffled"),
        of="selection",
        hash_as="order",
    )
    order_seed: int = rule(
        0,
        "another shuffle of the same run: an A/A control differs in this alone",
        least=0,
        of="selection",
    )
    representative: str = rule(
        "facility",
        "facility | sampled (one point drawn from the facility's cluster)",
        one_of=("facility", "sampled"),
        of="selection",
    )
    selection_interval: int = rule(
        1, "epochs between selections", least=1, of="selection", hash_as="every"
    )
    warmup: int = rule(
        0, "epochs on the full set before the first selection", least=0, of="selection"
    )
    pretrained: bool = rule(
        False,
        "points come from the finished `pretraining()` run, selected once",
        of="selection",
    )
    ratio_end: float = rule(
        0.0,
        "curriculum: ratio grows linearly to this in the last epoch; 0 = stays",
        of="selection",
        hash_as="final_ratio",
    )

    # beyond selection; off in a pretraining run as well
    update_rule: str = rule(
        "plain",
        f"how a batch updates the model: {' | '.join(UPDATE_RULES)}",
        one_of=UPDATE_RULES,
        of="selection",
        hash_as="steps",
    )
    mixup: bool = rule(
        False,
        "mix each image with one of its class, CRUST's lambda ~ Beta(1, 0.1)",
        of="selection",
        hash_as="mix",
    )
    mixup_variant: str = rule(
        "picks",
        "picks (a partner among the picks, a lambda per image, from the first selection on)"
        " | released (a partner among all points of the given class, a lambda per batch, from the"
        " epoch after the first selection on)",
        one_of=("picks", "released"),
        of="selection",
        hash_as="mixing",
    )
    num_clean: int = rule(
        0,
        "training images whose true labels `reweight` may see",
        least=0,
        of="selection",
        hash_as="clean_set",
    )

    def __post_init__(self) -> None:
        for name in ("milestones", "noise_map"):
            if not isinstance(getattr(self, name), (list, tuple)):
                raise SpecError(f"{name} must be a list; got {getattr(self, name)!r}")

        # YAML and JSON give lists and integers; a frozen value holds tuples and floats
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "tuple":
                entries = (tuple(v) if isinstance(v, list) else v for v in value)
                object.__setattr__(self, field.name, tuple(entries))
            elif field.type == "float" and type(value) is int and abs(value) < 2**53:
                object.__setattr__(self, field.name, float(value))

        for field in fields(self):
            value = getattr(self, field.name)
            if must := broken(field, value):
                raise SpecError(f"{field.name} must be {must}; got {value!r}")
        for cross in CROSS_RULES:
            if not cross.holds(self):
                must = cross.must.format(spec=self)
                raise SpecError(f"{cross.field} must be {must}; got {getattr(self, cross.field)!r}")

    @property
    def hash(self) -> str:
        """16 hex digits of the sha256 of the non-default fields."""
        # sorted, so that the order of the fields is no part of it
        changed = dict(
            rule_of(f).hashed(f.name, getattr(self, f.name))
            for f in fields(self)
            if getattr(self, f.name) != f.default
        )
        return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:16]

    def asdict(self) -> dict:
        """Plain JSON values, every field."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: dict) -> RunSpec:
        """Inverse of asdict, also of one that an earlier version wrote under earlier names.

        Raises SpecError on an unknown field.
        """
        if not isinstance(values, dict):
            raise SpecError(
                f"spec must be a mapping of RunSpec's fields; got {type(values).__name__}"
            )

        # a record keeps the names that it was written with
        present = {rule_of(f).hash_as or f.name: f for f in fields(cls)}
        values = dict(values)
        for name in values.keys() & present.keys():
            field = present[name]
            if field.name in values and name != field.name:
                raise SpecError(f"{name} is called {field.name}; give that alone")
            value = values.pop(name)
            was = rule_of(field).renamed
            values[field.name] = was.get(value, value) if isinstance(value, str) else value

        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise SpecError(f"field must be one of RunSpec's; got {unknown}")
        return cls(**values)

    @property
    def identity(self) -> str:
        """The hash of what is trained, however it is measured and in whichever precision."""
        return replace(self, precision="fp32", **defaults("measurement")).hash

    def accepts(self, recorded: RunSpec) -> bool:
        """Whether a record of `recorded` is one of this run.

        It is when the training is the same, in this spec's precision unless that is `auto`.
        """
        same = self.identity == recorded.identity
        return same and self.precision in ("auto", recorded.precision)

    def pretraining(self) -> RunSpec:
        """The run on the whole set whose final model gives a pretrained selection its points."""
        return replace(self, **defaults("selection"))


@cache  # a plan asks for the identity of hundreds of runs
def defaults(part: str) -> Mapping[str, Any]:
    """The defaults of the fields of one part of a run.

    part: `selection`, or `measurement`, whose fields say how a run is measured and change nothing
    of it.
    """
    return MappingProxyType({f.name: f.default for f in fields(RunSpec) if rule_of(f).of == part})


def help_of(name: str) -> str:
    """What a field means, in a line."""
    return next(rule_of(f).help for f in fields(RunSpec) if f.name == name)


class CrossRule(NamedTuple):
    """A rule between fields: the message names `field`, and says what it must be."""

    field: str
    holds: Callable[[RunSpec], bool]
    must: str  # {spec.name} stands for the value of another field


# Checked in this order, after every field's own rule.
CROSS_RULES = (
    CrossRule(
        "warmup",
        lambda s: s.warmup == 0 or s.warmup < s.epochs,
        "less than epochs ({spec.epochs}), or nothing is ever selected",
    ),
    CrossRule("radius", lambda s: s.weights != "ball" or s.radius > 0, "> 0 when weights is ball"),
    CrossRule(
        "noise_rate",
        lambda s: (s.noise == "none") == (s.noise_rate == 0),
        "0 exactly when noise is none",
    ),
    CrossRule(
        "noise_map",
        lambda s: bool(s.noise_map) == (s.noise == "asymmetric"),
        "given exactly when noise is asymmetric",
    ),
    CrossRule(
        "milestones",
        lambda s: all(a < b for a, b in zip(s.milestones, s.milestones[1:])),
        "increasing",
    ),
    CrossRule(
        "ratio_end",
        lambda s: s.ratio_end == 0 or s.ratio <= s.ratio_end <= 1,
        "0 or in [ratio, 1]",
    ),
    CrossRule(
        "num_clean",
        lambda s: (s.num_clean > 0) == (s.update_rule == "reweight"),
        "> 0 exactly when update_rule is reweight",
    ),
    CrossRule(
        "embedding",
        lambda s: s.embedding != "forgetting" or s.pretrained,
        "of a current model unless pretrained is true",
    ),
    CrossRule(
        "update_rule",
        lambda s: s.pretrained or s.update_rule != "raw_clusters",
        "plain or reweight unless pretrained is true",
    ),
    CrossRule("warmup", lambda s: not (s.pretrained and s.warmup), "0 for a pretrained selection"),
    CrossRule(
        "gradient_mode",
        lambda s: not (s.pretrained and s.gradient_mode == "train"),
        "eval for a pretrained selection",
    ),
    CrossRule(
        "mixup_variant",
        lambda s: s.mixup or s.mixup_variant == "picks",
        "picks unless mixup is true",
    ),
    CrossRule(
        "order_seed",
        lambda s: s.order_seed == 0 or s.batch_order != "greedy",
        "0 for the greedy order",
    ),
)
