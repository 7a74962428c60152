"""Keeps what runs on this machine equal to what Auto Scaling wants."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

from stacks.catalog import Catalog
from visionstack.cloud import local_fleet
from visionstack.cloud.local_fleet import Fleet, InstanceState
from visionstack.localcloud.agent.balancer import HOST, Balancer
from visionstack.localcloud.agent.groups import DeployedGroups, Group
from visionstack.localcloud.agent.instance import LocalInstance, Surroundings
from visionstack.localcloud.agent.machine import reason_not_to_run

LOG: Final = logging.getLogger(__name__)
INTERVAL_S: Final = 0.5
STOP_GRACE_S: Final = 20.0


class GroupBalancer:
    """A group's load balancer: one listener for the stream, one for HTTP."""

    def __init__(self, group: str, agent: Agent) -> None:
        self.group = group
        self.stream = Balancer(lambda: [one.stream_port for one in agent.healthy(group)])
        self.http = Balancer(lambda: [one.http_port for one in agent.healthy(group)])

    async def start(self) -> None:
        await self.stream.start()
        await self.http.start()

    def close(self) -> None:
        self.stream.close()
        self.http.close()


class Agent:
    """Reads the groups, and boots, watches, replaces and drains instances accordingly."""

    def __init__(
        self, groups: DeployedGroups, *, surroundings: Surroundings, catalog: Catalog
    ) -> None:
        self._groups = groups
        self._around = surroundings
        self._catalog = catalog
        self._instances: dict[str, LocalInstance] = {}
        self._leaving: list[LocalInstance] = []
        self._not_run: list[local_fleet.Instance] = []
        self._balancers: dict[str, GroupBalancer] = {}
        self._groups_read = 0.0

    def healthy(self, group: str) -> list[LocalInstance]:
        """Instances that may get new connections."""
        return [
            one
            for one in self._instances.values()
            if one.group == group and one.state is InstanceState.HEALTHY
        ]

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then every instance is drained, at the latest after 20 s killed."""
        while not stop.is_set():
            await self.step()
            try:
                async with asyncio.timeout(INTERVAL_S):
                    await stop.wait()
            except TimeoutError:
                continue
        await self._stop()

    async def step(self) -> None:
        """One look at the groups and at every instance."""
        asked = time.time()
        try:
            groups = await asyncio.to_thread(self._groups.read)
        except Exception:  # the cloud may be busy, or on its way down: nothing is changed then
            LOG.exception("could not read the Auto Scaling groups")
        else:
            await self._follow(groups)
            self._groups_read = asked
        await asyncio.gather(*(one.step() for one in self._instances.values()))
        for one in [one for one in self._leaving if one.drained()]:
            LOG.info("%s has ended", one.id)
            # Some 20,000 files: the others are to be watched meanwhile.
            await asyncio.to_thread(one.forget)
            self._leaving.remove(one)
        self._publish()

    async def _follow(self, groups: Sequence[Group]) -> None:
        self._not_run = []
        wanted: dict[str, Group] = {}
        for group in groups:
            reason = reason_not_to_run(group.template, catalog=self._catalog)
            if reason is not None:
                self._not_run += [_absent(one, group, reason) for one in group.instance_ids]
                continue
            wanted |= dict.fromkeys(group.instance_ids, group)
        for instance_id in [one for one in self._instances if one not in wanted]:
            self._let_go(instance_id)
        for instance_id, group in wanted.items():
            self._hold(instance_id, group)
        await self._balance({group.name for group in wanted.values()})

    def _hold(self, instance_id: str, group: Group) -> None:
        current = self._instances.get(instance_id)
        if current is not None and current.template != group.template:
            # A new launch template: replaced one after the other, as a rolling update does.
            others = [one for one in self.healthy(group.name) if one.id != instance_id]
            size = sum(one.group == group.name for one in self._instances.values())
            if current.state is InstanceState.HEALTHY and size > 1 and not others:
                return
            LOG.info("%s has a new launch template", instance_id)
            self._let_go(instance_id)
            current = None
        if current is None:
            if any(one.id == instance_id for one in self._leaving):
                return  # its predecessor with the same folder still drains
            LOG.info("%s of %s boots", instance_id, group.name)
            current = LocalInstance(
                instance_id,
                group=group.name,
                template=group.template,
                surroundings=self._around,
            )
            self._instances[instance_id] = current
            current.boot()

    def _let_go(self, instance_id: str) -> None:
        one = self._instances.pop(instance_id)
        LOG.info("%s drains", instance_id)
        one.drain()
        self._leaving.append(one)

    async def _balance(self, groups: set[str]) -> None:
        for name in groups - self._balancers.keys():
            balancer = GroupBalancer(name, self)
            await balancer.start()
            self._balancers[name] = balancer
        leaving = {one.group for one in self._leaving}
        # A draining server's clients keep their connections until it has ended.
        for name in self._balancers.keys() - groups - leaving:
            self._balancers.pop(name).close()

    def _publish(self) -> None:
        present = [*self._instances.values(), *self._leaving]
        now = Fleet(
            instances=[*(one.describe() for one in present), *self._not_run],
            balancers=[
                local_fleet.Balancer(
                    group=one.group,
                    host=HOST,
                    stream_port=one.stream.port,
                    http_port=one.http.port,
                    healthy=len(self.healthy(one.group)),
                )
                for one in self._balancers.values()
            ],
            groups_read=self._groups_read,
        )
        now.write(self._around.folder)

    async def _stop(self) -> None:
        for instance_id in list(self._instances):
            self._let_go(instance_id)
        try:
            async with asyncio.timeout(STOP_GRACE_S):
                while not all(one.drained() for one in self._leaving):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            LOG.warning("some instances did not drain in time and are killed")
        for one in self._leaving:
            one.kill()
        for balancer in self._balancers.values():
            balancer.close()


def _absent(instance_id: str, group: Group, reason: str) -> local_fleet.Instance:
    return local_fleet.Instance(
        id=instance_id,
        group=group.name,
        instance_type=group.template.instance_type,
        state=InstanceState.NOT_RUN,
        stream_port=0,
        http_port=0,
        log="",
        boots=0,
        since=0,
        reason=reason,
    )
