"""The functions of `import blindsight`: models, pictures, boards and costs, in a few typed calls.

Stable: names and arguments here change only with a note in CHANGELOG.md. Everything else in the package may change.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from blindsight.app.images import load_images
from blindsight.app.modelfile import find_model, pictures_of
from blindsight.hw import profiles
from blindsight.hw.profiles import Board, Profile
from blindsight.models import zoo
from blindsight.nn.model import Model
from blindsight.simulator.cost import Band, Cost, Workload, cost
from blindsight.wire.blocks import Mode

if TYPE_CHECKING:
    from blindsight.models.compiler import Compiled


def compile_model(
    network: Any,
    calibration: np.ndarray,
    *,
    name: str,
    mean: Sequence[float] | float = 0.0,
    std: Sequence[float] | float = 1.0,
    labels: Sequence[str] | None = None,
    reveal: str = "top1",
    weight_bits: int | Literal["auto"] = "auto",
) -> Compiled:
    """Compiles a PyTorch network for the two servers. Needs PyTorch (`make dev`, or the extra `train`).

    Args:
        network: a `torch.nn.Module` that takes float32 (N, C, H, W) = (x / 255 - mean) / std and returns logits
            (N, classes); or `MODULE:FACTORY` or a `.pt2` file.
        calibration: uint8 (N, H, W, C) or (N, H, W), some hundred typical pictures.
        name: the model's name in manifests: a-z, 0-9, `.`, `_`, `-`; capitals become small.
        mean, std: one number, or one a channel.
        labels: names of the classes.
        reveal: what the device learns: `top1`, `topk`, `logits` or `probabilities`.
        weight_bits: 8 to 16, or `auto`: the fewest that keep the float network's answers.

    Returns:
        An object whose `save(path)` writes M.bsm (the cloud's) and M.plan.json (public), whose `model` is the `Model`,
        and whose `explain()` is a table of the layers' bounds.

    Raises:
        CompileError: one line that names the layer and what to do.
    """
    from blindsight.models import compile_model as compile_module
    from blindsight.models import load_module

    module = load_module(network) if isinstance(network, str) else network
    return compile_module(
        module,
        calibration,
        name=name,
        mean=mean,
        std=std,
        labels=labels,
        reveal=reveal,
        weight_bits=weight_bits,
    )


def model_names() -> list[str]:
    """Names of the models that come with Blindsight.

    >>> {"mnist", "fashion", "cifar"} <= set(model_names())
    True
    """
    return zoo.names()


def load_model(model: str | Path) -> Model:
    """A checked model: a name of `model_names()`, or an M.bsm that `compile_model(...).save` wrote.

    `model.plan` is the public plan, `model.graph` the float network it was made from.

    Raises:
        PlanError: the file is damaged or of another version.

    >>> plan = load_model("mnist").plan
    >>> plan.height, plan.width, plan.channels, plan.reveal.mode
    (28, 28, 1, 'top1')
    """
    path = find_model(str(model))
    if path.is_dir():
        raise IsADirectoryError(
            f"{path}: a split model's weights are in no one file; LocalPair takes the folder"
        )
    return Model.load(path)


def sample_pictures(model: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Test pictures of a model that comes with Blindsight: uint8 (N, H, W) or (N, H, W, C), and their classes (N,).

    >>> x, y = sample_pictures("mnist", 3)
    >>> x.shape, y.tolist()
    ((3, 28, 28), [7, 2, 1])
    """
    return load_images(pictures_of(model), count)


def load_picture(path: str | Path, model: Model | str) -> np.ndarray:
    """A picture file of any size as the model takes it: uint8 (H, W, C), the largest centred part of its proportions, reduced.

    Raises:
        ClientError: not a picture, or a damaged one.
    """
    from blindsight.client.picture import load

    plan = (load_model(model) if isinstance(model, str) else model).plan
    return load(Path(path), (plan.height, plan.width, plan.channels))


def board_names() -> list[str]:
    """Boards that Blindsight knows.

    >>> "esp32-c3" in board_names()
    True
    """
    return [board.id for board in profiles.boards()]


def load_board(name: str) -> Board:
    """A board: how firmware gets there, and its chip's `profile`; every number of that has a source.

    >>> load_board("esp32-c3").install
    'micropython'
    """
    return profiles.load_board(name)


def load_profile(name: str) -> Profile:
    """What is known about a chip, by its own name or a board's: `profile["power.deep_sleep"].value`, with unit and source.

    Raises:
        ProfileError: there is none of that name, or a number in it lacks its source.

    >>> load_profile("esp32-c3")["compute.clock"].unit
    'MHz'
    """
    if (profiles.HERE / "boards" / f"{name}.toml").is_file():
        return profiles.load_board(name).profile
    return profiles.load_profile(name)


def estimate_cost(
    board: str,
    *,
    model: Model | str | None = None,
    shape: tuple[int, int, int] = (32, 32, 3),
    ingest: Literal["rlwe", "rlwe-sk", "aes"] = "rlwe",
    pictures_per_day: float = 40.0,
    sleep: Literal["deep", "connected", "none"] | None = None,
    tls: bool = True,
    server_seconds: float | None = None,
    battery_mah: float = 0.0,
) -> Cost:
    """What one picture costs a board, by the cost model: each figure is a `Band` (low, mid, high).

    Args:
        model: takes the picture's shape from it; else `shape`, (height, width, channels).
        ingest: how the board encrypts.
        sleep: between pictures; None is deep sleep where the board has it.
        server_seconds: how long the servers take, as measured; None: half a second to six.
        battery_mah: 0 is mains; else `battery_days` is filled.

    Raises:
        CostError: an impossible request, or a board without the numbers it needs.

    >>> cost = estimate_cost("esp32-s3-sense", model="mnist", ingest="aes", battery_mah=2000)
    >>> 0 < cost.seconds.low < cost.seconds.mid < cost.seconds.high
    True
    >>> cost.battery_days is not None
    True
    """
    if model is not None:
        plan = (load_model(model) if isinstance(model, str) else model).plan
        shape = (plan.height, plan.width, plan.channels)
    if sleep is None:
        sleep = "none" if load_board(board).install == "linux" else "deep"
    work = Workload(
        Mode.named(ingest), *shape, per_day=pictures_per_day, sleep=sleep, tls=tls, battery_mah=battery_mah
    )  # fmt: skip
    if server_seconds is not None:
        work = Workload(**{**vars(work), "server": Band.exact(server_seconds)})
    return cost(profiles.HERE, board, work)
