"""What to look at in each group's figure."""

from __future__ import annotations

from robustfl.evidence.tables import StudyRecords
from robustfl.study.experiments import Group

CAPTIONS = {
    "curves": (
        "Test accuracy after each epoch, top-1 (left) and top-5 (right): mean over seeds, band "
        "one standard deviation. Dashed lines are the released greedy rule or, for radii, class "
        "medians.{noise}"
    ),
    "ratio": (
        "Best test accuracy (left) and data covered (right) against the facility ratio; crosses "
        "are the slides'. Look at which rule lies on the crosses at the right, and how far the "
        "random subset is from either at the left."
    ),
    "analysis": (
        "Accuracy on the points trained on (left), which are not the same ones for every line, and "
        "test accuracy (right), over epochs (top) and over backward "
        "passes (bottom). Look at the first epochs: a line above the black one trains faster; "
        "the lower row takes away the advantage of a cheaper epoch."
    ),
    "ablations": (
        "Change of the best test accuracy from the reference row of the same rule; crosses are "
        "the slides'. Look at the side of the zero line first, at the size second."
    ),
    "set_cover": (
        "Best test accuracy of each row; crosses are the slides'. Look at gradient against "
        "feature space at the same count."
    ),
}


UNDER_NOISE = (
    " Look at whether a line stays up at the end: a peak that falls again is label noise being "
    "learnt."
)


def caption(gathered: StudyRecords, group: Group) -> str:
    """The caption of a group's figure, which speaks of label noise only where there is some."""
    noisy = any(gathered.study.specs[row.names[0]].noise != "none" for row in group.rows)
    return CAPTIONS[group.figure].format(noise=UNDER_NOISE if noisy else "")
