"""A whole cluster from one seed: put together, run with its faults, healed, and looked over at the end."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

from handoff.ids import NOBODY
from sim.broadcasts import draw_broadcast
from sim.client import Client
from sim.clock import Clock, Lots
from sim.coordinator import Coordinator
from sim.faults import Fault, draw_faults
from sim.leftovers import not_given_back, traces
from sim.letters import Letters
from sim.limited import draw_limited
from sim.network import End, Network
from sim.node import Node
from sim.options import FIRST_RUN, Options, draw_options
from sim.oracles import Oracles
from sim.relays import draw_relay
from sim.stage import Stage
from sim.trace import Trace
from sim.watch import SLOW_FACTOR, Bug
from sim.wishes import let_wish
from sim.workload import Job, Offer, draw_job, let_straggle

QUIET_SECONDS = 90.0  # beyond every window: lost, orphaned, unreachable, pinned nodes
REMEMBERED_SECONDS = 5.0   # between two looks at all that brains remember
LOOK_EVERY = 25       # happenings between two looks at whether all is over


class SimulationFailed(AssertionError):
    """A seed that shows a bug, with all that is needed to see it again."""


class Sim:
    """One seed's cluster. `run` it once."""

    def __init__(
        self, seed: int, profile: str | None = None, hashed: bool = False, checks: bool = True, whole: bool = False,
        options: Options | None = None,
    ) -> None:
        self.seed = seed
        self.options = options = replace(options or draw_options(seed, profile), checks=checks)
        self.clock, self.lots, self.trace = Clock(), Lots(seed), Trace(hashed, whole)
        self.oracles = Oracles(options, self.clock)
        self.network = Network(self.clock, self.lots.network, options.delay_seconds)
        self.stage = Stage(options, self.clock, self.lots, self.network, Letters(options.encoded), self.oracles, self.trace)
        self.nodes: dict[str, Node] = {}
        self.clients: dict[str, Client] = {}
        self.offers = {offer.name: offer for offer in (*self.options.offers, *self.options.joiners)}
        self.faults: list[Fault] = []
        self.jobs: list[Job] = []
        self._looks_at = 0.0
        self._barren_until: dict[str, float] = {}   # by host: what keeps workers from coming up outlives the node
        self._frozen_until: dict[Any, float] = {}   # by process: one that is started anew is not the one that was paused

    # ── putting it together ─────────────────────────────────────────────────

    def prepare(self) -> None:
        """Everybody starts; the work and the faults are drawn."""
        options, lots = self.options, self.lots
        self.coordinator = Coordinator(self.stage)
        for offer in options.offers:
            self.clock.at(lots.topology.random() * 0.2, self._start_node, offer)
        for number in range(options.clients):
            name = f"client-{number}"
            self.clients[name] = Client(self.stage, name)
        trouble = 0.15 if "mishaps" in options.faults else 0.0
        for number in range(1, options.jobs + 1):
            spread = 1.5 if "restarts" in options.faults else 0.3
            at = lots.workload.choice((0.0, 0.3, 1.0)) + lots.workload.random() * options.fault_seconds * spread
            client, tasks = lots.workload.randrange(options.clients), lots.workload.randint(1, options.tasks_max)
            job = (
                draw_broadcast(lots.workload, number, list(options.offers), client=client, at=at, trouble=trouble)
                if "broadcasts" in options.faults and lots.workload.random() < 0.8
                else draw_relay(lots.workload, number, list(options.offers), client=client, at=at, trouble=trouble)
                if "relays" in options.faults and lots.workload.random() < 0.8
                else draw_limited(lots.workload, number, list(options.offers), client=client, at=at, trouble=trouble / 3)
                if "limits" in options.faults and lots.workload.random() < 0.9
                else draw_job(lots.workload, number, list(options.offers), client=client, at=at, trouble=trouble, tasks=tasks)
            )
            if "stragglers" in options.faults:
                let_straggle(lots.workload, job)
            if "heirs" in options.faults:
                detach = lots.workload.random() < 0.8
                job.submit = replace(job.submit, detach=detach, values_only=not detach and job.submit.values_only)
            if lots.workload.random() < 0.08:
                job.cancel_after = lots.workload.random() * 3
            if "wishes" in options.faults:
                let_wish(lots.workload, job)
            if "cancels" in options.faults:
                self._let_go(job)
            self.jobs.append(job)
            self.clock.at(at, self._submit, job)
        self.faults = draw_faults(lots.faults, options, self.jobs)
        for fault in self.faults:
            self.clock.at(fault.at, self._strike, fault)

    def _let_go(self, job: Job) -> None:
        """At any moment of it, the first ones above all, its user ends it, or lets go of it."""
        lots, draw = self.lots.faults, self.lots.faults.random()
        moment = min(job.work, self.options.fault_seconds) * lots.random() ** lots.choice((1, 3, 9))
        if draw < 0.5:
            job.cancel_after = moment
        elif draw < 0.7 and not job.submit.detach:
            job.forget_after = moment

    def _start_coordinator(self) -> None:
        self.coordinator = Coordinator(self.stage, self.coordinator.life + 1)

    def _start_node(self, offer: Offer) -> None:
        before = self.nodes.get(offer.name)
        if before is not None and before.alive:
            return
        node = self.nodes[offer.name] = Node(self.stage, offer.name, offer.capacity, self._left)
        node.workers.barren_until = self._barren_until.get(offer.name, 0.0)

    def _submit(self, job: Job) -> None:
        client = self.clients[f"client-{job.client}"]
        client.run(client.submit, job)

    # ── what goes wrong ─────────────────────────────────────────────────────

    def _strike(self, fault: Fault) -> None:
        self.trace.fault(self.clock.now, fault.subject, f"{fault.kind} {fault.other} {fault.seconds:.3f}")
        until = self.clock.now + fault.seconds
        match fault.kind:
            case "reset":
                process = self._process(fault.subject)
                ends = list(process.ends) if process is not None and process.alive else []
                if ends:
                    self.network.reset(self.lots.faults.choice(ends))
            case "cut" | "cut-one-way":
                self._cut(fault, until)
            case "pause":
                process = self._process(fault.subject)
                if process is not None:
                    process.freeze()
                    self._frozen_until[process] = max(until, self._frozen_until.get(process, 0.0))
                    self.clock.at(until, self._thaw, process)
            case "restart" | "kill" if fault.subject == "coordinator":
                if self.coordinator.alive:
                    (self.coordinator.stop if fault.kind == "restart" else self.coordinator.kill)()
                    self.clock.at(until, self._start_coordinator)
            case "kill" | "vanish":
                node = self.nodes.get(fault.subject)
                if node is not None and node.alive:
                    node.kill(silently=fault.kind == "vanish")
                    self.clock.at(until, self._start_node, self.offers[fault.subject])
            case "drain" | "terminate":
                self._drain(fault, until)
            case "join":
                self._start_node(self.offers[fault.subject])
            case "kill-client":
                client = self.clients[fault.subject]
                has_heir = client.alive and "heirs" in self.options.faults
                client.kill()
                if has_heir:
                    self._inherit(client)
            case "leave":
                self.clients[fault.subject].run(self.clients[fault.subject].leave)
            case "ask":
                client = self.clients[fault.subject]
                if client.me != NOBODY:
                    client.run(client.ask, fault.other, self.lots.faults.choice(self.jobs))
            case "flap":
                self._flap(fault, until)
            case _:
                node = self.nodes.get(fault.subject)
                if node is not None and node.alive:
                    self._afflict(node, fault, until)

    def _afflict(self, node: Node, fault: Fault, until: float) -> None:
        """Something happens on a node, and it goes on."""
        workers = [worker for worker in node.workers.alive.values() if not (worker.is_dead or worker.is_dying)]
        worker = self.lots.faults.choice(workers) if workers else None
        match fault.kind:
            case "full":
                node.full_until = max(until, node.full_until)
            case "slow":
                node.slow_until = max(until, node.slow_until)
            case "barren" | "ruin":
                until = inf if fault.kind == "ruin" else until
                self._barren_until[node.host] = node.workers.barren_until = max(until, node.workers.barren_until)
                for each in workers if fault.other == "all" or until == inf else ():
                    node.workers.struck(each, "killed by SIGKILL")
            case "kill-worker" if worker is not None:
                node.workers.struck(worker, "killed by SIGKILL")
            case "garble-worker" if worker is not None:
                node.workers.struck(worker, "killed by its node: it said what no worker says", is_garbled=True)
            case "stop-worker" if worker is not None:
                worker.stop()
                self.clock.at(until, worker.let_go_on)
            case "kill-worker" | "garble-worker" | "stop-worker":
                pass
            case _:
                raise ValueError(fault.kind)

    def _flap(self, fault: Fault, until: float) -> None:
        """All that connects two hosts breaks, again and again."""
        for end in self._between(fault.subject, fault.other):
            if end.is_open and end.process.host == fault.subject:
                self.network.reset(end)
        again = self.clock.now + self.lots.faults.choice((0.002, 0.02, 0.2)) * self.lots.faults.random()
        if again < until:
            self.clock.at(again, self._flap, fault, until)

    def _inherit(self, dead: Client) -> None:
        """Another client takes over what it left, some time later."""
        lots = self.lots.faults
        heir = self.clients[f"{dead.host}-heir"] = Client(self.stage, f"{dead.host}-heir")
        for job in dead.jobs.values():
            if job.submit.detach and job.run:
                self.clock.after(lots.choice((0.0, 0.5, 8.0)) * lots.random(), heir.run, heir.attach, job)

    def _drain(self, fault: Fault, until: float) -> None:
        """A client asks for it, or the node itself; it comes back some time after it has left."""
        node = self.nodes.get(fault.subject)
        askers = [client for client in self.clients.values() if client.alive and client.me != NOBODY]
        if node is None or not node.alive or (fault.kind == "drain" and not askers):
            return
        node.returns_after = fault.seconds
        if fault.kind == "drain":
            askers[0].run(askers[0].drain, fault.subject)
        else:
            node.run(node.drain)

    def _left(self, node: Node) -> None:
        """A node has left in order."""
        self.clock.after(node.returns_after, self._start_node, self.offers[node.host])

    def _thaw(self, process: Any) -> None:
        if self.clock.now >= self._frozen_until[process]:
            process.thaw()

    def _cut(self, fault: Fault, until: float) -> None:
        self.network.cut(fault.subject, fault.other, until)
        if fault.kind == "cut":
            self.network.cut(fault.other, fault.subject, until)
        self.network.notice(self._between(fault.subject, fault.other), until)

    def _between(self, one: str, another: str) -> list[End]:
        """The ends of all connections between two hosts."""
        ends: list[End] = []
        for name in (one, another):
            process = self._process(name)
            if process is not None and process.alive:
                ends += [end for end in process.ends if {end.process.host, end.other.process.host} == {one, another}]
        return ends

    def _process(self, name: str) -> Any:
        if name == "coordinator":
            return self.coordinator
        return self.nodes.get(name) or self.clients.get(name)

    # ── a day in its life ───────────────────────────────────────────────────

    def run(self) -> Sim:
        """All of it. Raises SimulationFailed, with the seed's story, when anything is not as it must be."""
        try:
            self.prepare()
            self._until(self._all_over, self._bound(), "not every run is over")
            for client in self.clients.values():
                if client.alive:
                    for token in client.jobs:
                        client.run(client.forget, token)
            self.oracles.moved_at = self.clock.now
            limit = max(self.clock.now + QUIET_SECONDS, self._bound())   # detached runs work on when their clients are gone
            self._until(self._all_quiet, limit, "something is still held")
            self._look_over()
        except Exception as error:
            raise SimulationFailed(self._story(error)) from error
        return self

    def _bound(self) -> float:
        """When everything must be over: faults end, windows pass, and all work is done one after the other, on the slowest terms."""
        again = 1 + len(self.faults)
        work = sum(job.work + 6.0 * sum(map(len, job.mishaps.values())) for job in self.jobs)
        work *= 1 + SLOW_FACTOR if "slow" in self.options.faults else 1.0
        return self._calm() + QUIET_SECONDS + again * work

    def _calm(self) -> float:
        """When everything that goes wrong has gone wrong, and everything is asked for."""
        return max([*(fault.at + fault.seconds for fault in self.faults), *(job.at for job in self.jobs)])

    def _until(self, reached: Any, limit: float, complaint: str) -> None:
        clock, events_max, calm = self.clock, self.options.events_max, self._calm()
        while not reached():
            for _ in range(LOOK_EVERY):
                if not clock.step():
                    raise Bug(f"nothing will ever happen again, and {complaint}: {self._state()}")
            if clock.now > limit or clock.now > max(self.oracles.moved_at, calm) + QUIET_SECONDS:
                raise Bug(f"after {clock.now:.1f} s {complaint}: {self._state()}")
            if clock.happened > events_max:
                raise Bug(f"{clock.happened} events, and {complaint}: {self._state()}")

    def _all_over(self) -> bool:
        last = max((fault.at for fault in self.faults if fault.kind == "join"), default=0.0)
        if self.clock.now < last:
            return False
        for job in self.jobs:
            client = self.clients[f"client-{job.client}"]
            if client.alive and job.submit.token not in client.over:
                return False
        return all(not client.alive or (client.brain.idle and not client.waiting) for client in self.clients.values())

    def _all_quiet(self) -> bool:
        if self.clock.now < self._looks_at or self._left_over():
            return False
        self._looks_at = self.clock.now + REMEMBERED_SECONDS
        return not self._remembered()

    def _left_over(self) -> list[str]:
        left = [f"claims: {line}" for line in self.oracles.claims.held()]
        kept = self._kept()
        for client in self.clients.values():
            if client.alive and client.unanswered:
                left.append(f"{client.host} has asked {client.unanswered}")
        for node in self.nodes.values():
            stored = [key for key in node.store if key[0] not in kept] if node.alive else []
            if stored:
                left.append(f"{node.host} keeps {stored[:5]}")
        runs = [run for run, table in self.coordinator.brain.ledger.runs.items() if run not in kept or not table.is_over]
        if runs:
            left.append(f"the scheduler has runs {runs}")
        for name, offer in self.offers.items():
            if offer.stays and not (name in self.nodes and self.nodes[name].alive):
                left.append(f"{name} is not back")
        return left

    def _remembered(self) -> list[str]:
        """What brains know of runs that are over."""
        kept, found = self._kept(), []
        if self.options.first_run < FIRST_RUN:    # where bytes are counted, runs have small numbers, as many other things have
            return found
        for process in (*self.nodes.values(), *self.clients.values()):
            if process.alive:
                found += [f"{process.host} remembers {each}" for each in traces(process.brain, self.options.first_run, kept)[:5]]
        for node in self.nodes.values():
            found += not_given_back(node) if node.alive else []
        found += [f"the scheduler remembers {each}" for each in traces(self.coordinator.brain, self.options.first_run, kept)[:5]]
        return found

    def _kept(self) -> dict[int, None]:
        """Detached runs whose client is gone: they are kept, in case somebody attaches."""
        return {job.run: None for job in self.jobs if job.submit.detach and self._is_left_alone(job)}

    def _is_left_alone(self, job: Job) -> bool:
        client = self.clients[f"client-{job.client}"]
        over = client.over.get(job.submit.token)
        return not client.alive or client.has_been_away or (over is not None and over.failure is not None)

    def _look_over(self) -> None:
        """At the end nothing is held, and everybody agrees about it."""
        ledger = self.coordinator.brain.ledger
        if not ledger.runs and ledger.cluster.free != ledger.cluster.declared:
            raise Bug(f"of {ledger.cluster.declared}, which the cluster shares, {ledger.cluster.free} is free")
        for mirror in ledger.nodes.values():
            if any(mirror.committed.values()) or mirror.planned or mirror.holding:
                raise Bug(f"the scheduler believes that {mirror.name} holds {mirror.committed}, {mirror.holding}")
        for node in self.nodes.values():
            if node.alive:
                node.brain.check()
        self.coordinator.brain.check()

    # ── telling the story ───────────────────────────────────────────────────

    def _state(self) -> str:
        waiting = [
            f"{job.submit.name} (run {job.run}) of client-{job.client}"
            for job in self.jobs
            if self.clients[f"client-{job.client}"].alive and job.submit.token not in self.clients[f"client-{job.client}"].over
        ]
        return f"waiting: {waiting}; left: {(self._left_over() or self._remembered())[:8]}"

    def _story(self, error: Exception) -> str:
        faults = "\n".join(f"  {fault}" for fault in self.faults)
        return (
            f"{type(error).__name__}: {error}\n"
            f"at {self.clock.now:.6f} s, seed {self.seed}, profile {self.options.profile}, options {self.options}\nfaults:\n{faults}\n"
            f"the last events:\n{self.trace.text()}\n"
            f"{type(error).__name__}: {error}\n"
            f"replay: scripts/simulate {self.seed} --profile {self.options.profile}"
        )
