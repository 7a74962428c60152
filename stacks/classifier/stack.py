"""The serverless lane: a REST API and the function behind it."""

from __future__ import annotations

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from runtime.contract import Output
from stacks.classifier.api import ClassifierApi
from stacks.classifier.folder_run import FolderRun
from stacks.classifier.function import ClassifierFunction
from stacks.classifier.monitoring import ClassifierMonitoring
from stacks.packages import PackageArchives
from stacks.parts.monitoring import AlarmTopic
from stacks.settings.model import DeploymentSettings
from stacks.storage.stack import StorageStack


class ClassifierStack(Stack):
    """Function, alias (`alias`: what the warmer warms) and API."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: DeploymentSettings,
        archives: PackageArchives,
        storage: StorageStack,
        cors_origin: str | None,
    ) -> None:
        super().__init__(scope, construct_id, description="visionstack: serverless lane")
        classifier = ClassifierFunction(
            self,
            "Classifier",
            settings=settings,
            package=archives.archive(settings.classifier_package()),
            artifacts=storage.artifacts,
            pictures=storage.pictures,
            cors_origin=cors_origin,
        )
        self.alias = classifier.alias
        front = ClassifierApi(
            self,
            "Front",
            settings=settings,
            alias=classifier.alias,
            cors_origin=cors_origin,
        )
        monitoring = ClassifierMonitoring(
            self,
            "Monitoring",
            function=classifier.function,
            api=front.api,
            dashboard_name=f"{settings.prefix}-classifier",
        )
        if settings.alarm_email:
            AlarmTopic(self, "Alarms", email=settings.alarm_email, alarms=monitoring.alarms)
        folders_run = FolderRun(
            self,
            "FolderRun",
            settings=settings,
            alias=classifier.alias,
            artifacts=storage.artifacts,
        )
        CfnOutput(self, Output.FOLDER_STATE_MACHINE, value=folders_run.machine.state_machine_arn)
        CfnOutput(self, Output.API_URL, value=front.api.url)
        if front.key is not None:
            CfnOutput(self, Output.API_KEY_ID, value=front.key.key_id)
        CfnOutput(self, Output.CLASSIFIER_FUNCTION, value=classifier.function.function_name)
        CfnOutput(self, Output.CLASSIFIER_ALIAS, value=classifier.alias.alias_name)
