"""The artifact of a model by name: the catalog's is built when asked for, others lie here."""

from __future__ import annotations

from collections.abc import Callable

from runtime.contract import Precision
from runtime.inference.artifact import Artifact, Task
from runtime.inference.errors import ArtifactError
from visionstack import paths
from visionstack.errors import UsageError, VisionstackError
from visionstack.models.building import built_names, current_folder, ready
from visionstack.models.catalog import CATALOG, find_recipe
from visionstack.models.draft import BuildOptions


def find_model(
    name: str,
    *,
    task: Task | None = None,
    precision: Precision = "fp32",
    random: bool = False,
) -> Callable[[], Artifact]:
    """What gives the artifact of a model by name.

    Raises `UsageError` for a name that is neither in the catalog nor built here, and for a built
    model of another task.
    """
    built = built_names(paths.MODELS)
    if name not in CATALOG and name in built:
        try:
            artifact = Artifact.load(current_folder(paths.MODELS, name))
        except ArtifactError as error:
            raise VisionstackError(error.message, remedy="Train or build it again.") from error
        if task and artifact.manifest.task != task:
            raise UsageError(
                f"The model {name} is for {artifact.manifest.task}, not for {task}.",
                remedy="classifier_model names a classifier, stream_model detectors.",
            )
        if artifact.manifest.precision != precision:
            raise UsageError(
                f"The model {name} is stored in {artifact.manifest.precision}, not {precision}."
            )
        return lambda: artifact
    if name not in CATALOG and not name.endswith(".pt"):
        trained = [one for one in built if one not in CATALOG]
        raise UsageError(
            f"There is no model {name!r}: it is neither in the catalog nor built here.",
            remedy=f"There are {', '.join([*CATALOG, *trained])}. Train your own: "
            f"visionstack train classifier FOLDER --name {name}",
        )
    recipe = find_recipe(name)
    options = BuildOptions(precision=precision, random=random)
    return lambda: ready(recipe, root=paths.MODELS, options=options)
