"""Methods in words, for readers of tables."""

from collections.abc import Iterable

METHODS = {
    "base": "the student before distillation",
    "scotd": "plain distillation",
    "scotd-1": "plain distillation on one rationale a question",
    "kpod": "KPOD: steps with a keypoint, token weights",
    "kpod-paper": "KPOD with the paper's settings",
    "kpod-wo-sig": "KPOD, no token weights in the loss",
    "kpod-wo-sig-dif": "KPOD, no token weights in the difficulty",
    "kpod-wo-prog": "KPOD, no curriculum",
    "kpod-wo-div": "KPOD, no diversity in the curriculum",
    "icl": "a share of each target is given (Jia et al., 2023)",
    "acl": "the easiest rationales first (Kong et al., 2021)",
    "spl": "self-paced by uncertainty (Wan et al., 2020)",
    "mcc-kd": "two rationales that must agree (Chen et al., 2023)",
    "scott": "wrong rationales as well, marked (Wang et al., 2023)",
    "specialized": "four formats of each rationale (Fu et al., 2023)",
}


def methods(names: Iterable[str]) -> dict[str, str]:
    """The description of each method that has one, in the order of `names`."""
    return {name: METHODS[name] for name in names if name in METHODS}
