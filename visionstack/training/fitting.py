"""Training by Lightning: epochs chosen on validation, each saved, resumed after a kill.

Lightning (30 MB beside torch's 750, no program of its own) rather than Ultralytics' classify
trainer, which costs nothing more to install but trains its own networks from a folder of JPEGs
only, judges on the part it selects on, and has no place for features computed once; or timm's,
which is a script and no library. It saves the loop, mixed precision, the choice of device, early
stopping, checkpoints with everything that resuming needs, and TensorBoard.

Importing this imports torch.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

# First: what Lightning imports looks for torchvision, which needs help beside a torch for CPUs.
from visionstack.training import networks  # isort: skip  # noqa: F401
import pytorch_lightning as lightning
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, Sampler

from visionstack.files import replace_file
from visionstack.training.augmentation import augment
from visionstack.training.dataset import Pictures
from visionstack.training.errors import TrainingError
from visionstack.training.features import (
    COPIES,
    computes_half,
    features,
    judged_at_once,
    known,
    planes,
)
from visionstack.training.networks import Backbone, ProductNetwork
from visionstack.training.plans import Candidate, Epoch, Fit
from visionstack.training.rows import cannot_write

BATCH: Final = 32
RATE_NEW: Final = 2e-3
RATE_KNOWN: Final = 4e-4
_DECAY: Final = 1e-2
_SMOOTHING: Final = 0.05
Told = Callable[[Epoch], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """How long, on what, and where the checkpoints go."""

    folder: Path
    features: Path
    """Where a frozen network's features go, which several runs may share."""
    epochs: int
    patience: int
    batch: int = BATCH
    seed: int = 0
    tensorboard: bool = False
    told: Told = field(default=lambda _: None)


def fit(
    candidate: Candidate,
    backbone: Backbone,
    train: Pictures,
    validation: Pictures,
    *,
    products: int,
    options: FitOptions,
    known_of: Pictures | None = None,
) -> tuple[ProductNetwork, Fit]:
    """Train until the validation loss has not fallen for `patience` epochs, or `epochs` are over.

    The network returned has the weights of its best epoch. A run that was killed goes on from its
    last epoch, one that had ended is read back. `known_of` holds both parts: a frozen network's
    features are then computed for all of it, once for every fit that gives the same. `backbone`
    is left as it was. Raises `TrainingError` for a full disk or too little memory.
    """
    with _sentences(options):
        torch.manual_seed(options.seed)
        network = ProductNetwork(replace(backbone, body=copy.deepcopy(backbone.body)), products)
        if candidate.way == "head":
            data: tuple[Dataset[Any], Dataset[Any]] = (
                known(
                    backbone, train, known_of, options.features, copies=COPIES * candidate.augmented
                ),
                known(backbone, validation, known_of, options.features, copies=0),
            )
            learner = _Learner(network.head, [*_group(network.head, RATE_NEW)], options)
        else:
            data = (_Squares(train), _Squares(validation))
            rates = RATE_NEW if candidate.way == "scratch" else RATE_KNOWN
            groups = [*_group(network.head, RATE_NEW), *_group(network.body, rates)]
            learner = _Learner(
                network, groups, options, scale=backbone.scaled, augmented=candidate.augmented
            )
        fitted = _run(learner, data, options)
    network.eval()
    return network, fitted


def logits(
    network: ProductNetwork, backbone: Backbone, pictures: Pictures
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """float64 (n, products) of all pictures, computed in float32."""
    network.eval()
    found = []
    with torch.inference_mode():
        step = judged_at_once(pictures.size)
        for start in range(0, len(pictures), step):
            chosen = np.arange(start, min(start + step, len(pictures)))
            batch = backbone.scaled(planes(pictures.pixels(chosen)))
            batch = batch.contiguous(memory_format=torch.channels_last)
            found.append(network(batch).double().numpy())
    return np.concatenate(found)


def judge(
    candidate: Candidate,
    network: ProductNetwork,
    backbone: Backbone,
    pictures: Pictures,
    folder: Path,
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """As `logits`, but for a frozen network by its features in `folder`, computed once."""
    if candidate.way != "head":
        return logits(network, backbone, pictures)
    rows, _ = features(backbone, pictures, folder, copies=0)
    with torch.inference_mode():
        values = torch.from_numpy(rows.read(np.arange(len(pictures))))
        found: np.ndarray[Any, np.dtype[np.float64]] = network.eval().head(values).double().numpy()
    return found


@contextmanager
def torch_seeded(seed: int) -> Iterator[None]:
    """torch's random numbers from a seed, and as they were afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@contextmanager
def one_thread() -> Iterator[None]:
    """torch in one thread, which small networks gain from: two that wait for each other at every
    operation took 11 times as long on two busy cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Squares(Dataset[Any]):
    """Batches of pictures, uint8 (n, 3, size, size)."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures
        self.at_once = judged_at_once(pictures.size)

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, chosen: list[int]) -> Any:
        at = np.array(chosen[1:], np.int64)
        return planes(self.pictures.pixels(at)), torch.from_numpy(self.pictures.product[at])


class _Batches(Sampler[list[int]]):
    """Batches of numbers with the epoch before them: the same for a seed and an epoch, whether a
    run was interrupted or not."""

    def __init__(self, count: int, *, batch: int, seed: int | None) -> None:
        self.count, self.batch, self.seed, self.epoch = count, batch, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before each epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        order = np.arange(self.count)
        if self.seed is not None:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(self.count)
        for batch in self._parts(order):
            yield [self.epoch if self.seed is not None else 0, *batch.tolist()]

    def _parts(self, order: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        parts = [order[at : at + self.batch] for at in range(0, self.count, self.batch)]
        if self.seed is not None and len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [np.concatenate(parts[-2:])]  # batch statistics need two pictures
        return parts

    def __len__(self) -> int:
        return len(self._parts(np.arange(self.count)))


class _Learner(lightning.LightningModule):
    def __init__(
        self,
        network: nn.Module,
        groups: list[dict[str, Any]],
        options: FitOptions,
        *,
        scale: Callable[[torch.Tensor], torch.Tensor] | None = None,
        augmented: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.groups = groups
        self.options = options
        self.scale = scale
        self.augmented = augmented

    def on_train_epoch_start(self) -> None:
        seed = 1000003 * self.options.seed + self.current_epoch
        self.generator = torch.Generator().manual_seed(seed)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        # Dropout and augmentation are the epoch's and the batch's, so that a resumed run repeats
        # them; between the epoch's start and its first batch DataLoader draws numbers of its own.
        torch.manual_seed(int(torch.randint(2**62, (), generator=self.generator)))

    def _logits(self, values: torch.Tensor, *, augmented: bool = False) -> torch.Tensor:
        if self.scale is not None:
            values = values.float()
            if augmented:
                values = augment(values.cpu(), generator=self.generator).to(values.device)
            values = self.scale(values).contiguous(memory_format=torch.channels_last)
        found: torch.Tensor = self.network(values)
        return found.float()

    def training_step(self, batch: Any, index: int) -> torch.Tensor:
        values, wanted = batch
        found = self._logits(values, augmented=self.augmented)
        loss = functional.cross_entropy(found, wanted, label_smoothing=_SMOOTHING)
        self.log("loss", loss, on_step=False, on_epoch=True, batch_size=len(wanted))
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        values, wanted = batch
        found = self._logits(values)
        right = (found.argmax(1) == wanted).float().mean()
        self.log("val_loss", functional.cross_entropy(found, wanted), batch_size=len(wanted))
        self.log("val_top1", right, batch_size=len(wanted))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.groups, weight_decay=_DECAY)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.options.epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule}}


class _Watch(Callback):
    """Keeps the epochs, over a resumption too, and tells of each."""

    def __init__(self, told: Told) -> None:
        self.told = told
        self.epochs: list[Epoch] = []
        self.before = 0.0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self.before = self.epochs[-1].seconds if self.epochs else 0.0
        self.begun = time.monotonic()

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        found = trainer.callback_metrics
        epoch = Epoch(
            number=module.current_epoch + 1,
            seconds=self.before + time.monotonic() - self.begun,
            loss=float(found["loss"]),
            val_loss=float(found["val_loss"]),
            val_top1=float(found["val_top1"]),
        )
        self.epochs.append(epoch)
        self.told(epoch)

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": [asdict(epoch) for epoch in self.epochs]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs = [Epoch(**epoch) for epoch in state_dict["epochs"]]


class _Atomic(TorchCheckpointIO):
    """A checkpoint is the old one or the new one, whenever the process is killed."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None
    ) -> None:
        target = Path(path)
        aside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with aside.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(target)
        except (OSError, RuntimeError) as error:  # torch's writer turns ENOSPC into RuntimeError
            aside.unlink(missing_ok=True)
            cause = error if isinstance(error, OSError) else OSError(str(error).splitlines()[0])
            raise cannot_write(target, cause) from error


def _run(learner: _Learner, data: tuple[Dataset[Any], Dataset[Any]], options: FitOptions) -> Fit:
    folder = options.folder
    best, last, ended = folder / "best.ckpt", folder / "last.ckpt", folder / "ended.json"
    if not (ended.is_file() and best.is_file()):
        watch = _Watch(options.told)
        # The watch comes first, so that a checkpoint holds the epoch that it was written after.
        callbacks = [
            watch,
            EarlyStopping("val_loss", patience=options.patience, check_on_train_epoch_end=True),
            ModelCheckpoint(
                dirpath=folder,
                filename="best",
                monitor="val_loss",
                save_last=True,
                enable_version_counter=False,
                save_on_train_epoch_end=True,
            ),
        ]
        _quiet()
        trainer = lightning.Trainer(
            accelerator="auto",
            devices=1,
            precision="bf16-mixed" if computes_half() else "32-true",
            max_epochs=options.epochs,
            callbacks=callbacks,
            plugins=[_Atomic()],
            logger=_logger(options),
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=folder,
        )
        loaders = [
            DataLoader(part, sampler=batches, batch_size=None)
            for part, batches in zip(data, _batches(data, options), strict=True)
        ]
        resumed = str(last) if last.is_file() else None
        trainer.fit(learner, loaders[0], loaders[1], ckpt_path=resumed, weights_only=False)
        stopped = "epochs" if len(watch.epochs) >= options.epochs else "early stopping"
        # A signal ends Lightning's loop without an exception.
        if getattr(trainer, "interrupted", False) or not watch.epochs:
            raise KeyboardInterrupt
        document = {"stopped_by": stopped, "epochs": [asdict(epoch) for epoch in watch.epochs]}
        replace_file(ended, json.dumps(document))
    found = json.loads(ended.read_text("utf-8"))
    state = torch.load(best, map_location="cpu", weights_only=False)["state_dict"]
    learner.cpu().load_state_dict(state)
    options.folder.joinpath("last.ckpt").unlink(missing_ok=True)  # what `best` and `ended` replace
    return Fit(
        epochs=tuple(Epoch(**epoch) for epoch in found["epochs"]), stopped_by=found["stopped_by"]
    )


def _batches(data: tuple[Any, Any], options: FitOptions) -> tuple[_Batches, _Batches]:
    return (
        _Batches(len(data[0]), batch=options.batch, seed=options.seed),
        _Batches(len(data[1]), batch=data[1].at_once, seed=None),
    )


def _logger(options: FitOptions) -> Any:
    if not options.tensorboard:
        return False
    try:
        from pytorch_lightning.loggers import TensorBoardLogger

        return TensorBoardLogger(save_dir=options.folder, name="tensorboard")
    except ModuleNotFoundError as error:
        raise TrainingError(
            "TensorBoard is not installed.", remedy="Run: pip install tensorboard"
        ) from error


@contextmanager
def _sentences(options: FitOptions) -> Iterator[None]:
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _no_memory(options) from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "not enough memory" in str(error):
            raise _no_memory(options) from error
        raise


def _no_memory(options: FitOptions) -> TrainingError:
    return TrainingError(
        f"There is not enough memory for {options.batch} pictures at a time.",
        remedy="Give a smaller --batch or --size; the same command then starts anew.",
    )


def _quiet() -> None:
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    for words in (".*does not have many workers.*", ".*number of training batches.*",
                  ".*exists and is not empty.*", ".*LeafSpec.*", ".*srun.*"):  # fmt: skip
        warnings.filterwarnings("ignore", message=words)


def _group(module: nn.Module, rate: float) -> list[dict[str, Any]]:
    return [{"params": list(module.parameters()), "lr": rate}]
