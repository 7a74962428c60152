"""`python -m visionstack.packaging`: run by cdk before the app, with its context."""

from __future__ import annotations

import os
import sys

from visionstack import paths
from visionstack.errors import VisionstackError


def main() -> int:
    """Bring the packages up to date; a trouble is told in a sentence on stderr, exit code 1."""
    from stacks.settings.model import DeploymentSettings, SettingsError
    from visionstack.packaging.build import bring_up_to_date, check_wheels_fit

    try:
        settings = DeploymentSettings.from_environment(
            os.environ, cdk_json=paths.project() / "cdk.json"
        )
        check_wheels_fit(settings, environ=os.environ)
        bring_up_to_date(settings)
    except SettingsError as error:
        sys.stderr.write("".join(f"error: {sentence}\n" for sentence in error.sentences))
        return 1
    except VisionstackError as error:
        sys.stderr.write(f"error: {error.message}\n{error.remedy or ''}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
