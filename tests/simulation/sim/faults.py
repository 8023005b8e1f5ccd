"""What goes wrong, and when: drawn first as a plan, so that the same faults can be told, replayed and thinned out."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from sim.options import Options
from sim.workload import Job

TOPICS = ("nodes", "runs", "run", "timeline", "graph", "explain", "corrections", "outlook", "attach")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong."""

    at: float
    kind: str          # "reset", "flap", "cut", "cut-one-way", "pause", "kill", "vanish", "join", "drain", "terminate", "restart"; "slow",
                       # ... "full", "barren", "ruin", "kill-worker", "garble-worker", "stop-worker"; "kill-client", "leave", "ask"
    subject: str       # a host
    other: str = ""    # for cuts and flaps: the host at the other end; of a barren node: whether its workers end, too; what is asked
    seconds: float = 0.0  # how long it lasts; for kills, drains and restarts: until it comes back


def draw_faults(lots: Random, options: Options, jobs: list[Job]) -> list[Fault]:
    """The plan of a seed, in order of time. Most faults are aimed at the middle of some run."""
    plan: list[Fault] = []
    hosts = [offer.name for offer in options.offers]
    clients = [f"client-{number}" for number in range(options.clients)]
    everyone = ["coordinator", *hosts, *clients]
    for name in options.faults:
        for _ in range(lots.randint(1, 2 if name == "client_kills" else 4)):
            at = lots.random() ** 2 * options.fault_seconds
            if lots.random() < 0.8:
                job = lots.choice(jobs)
                at = job.at + lots.random() * min(job.work / lots.choice((1, 2, 5)) + 10 * options.delay_seconds, options.fault_seconds)
            match name:
                case "resets":
                    plan.append(Fault(at, "reset", lots.choice(hosts + clients)))
                case "cuts" if len(everyone) > 2:
                    subject, other = lots.sample(everyone, 2)
                    kind = "cut" if lots.random() < 0.7 else "cut-one-way"
                    seconds = lots.choice((0.1, 1.0, 4.0, 12.0, 20.0)) * lots.uniform(0.5, 1.5)
                    plan.append(Fault(at, kind, subject, other, seconds))
                case "apart" if len(hosts) > 1:
                    subject, other = lots.sample(hosts, 2)
                    kind = "cut" if lots.random() < 0.7 else "cut-one-way"
                    plan.append(Fault(at, kind, subject, other, lots.uniform(5.0, 40.0)))
                case "pauses":
                    seconds = lots.choice((0.1, 1.0, 4.0, 12.0)) * lots.uniform(0.5, 1.5)
                    plan.append(Fault(at, "pause", lots.choice(everyone[1:]), seconds=seconds))
                case "halts":
                    plan.append(Fault(at, "pause", "coordinator", seconds=lots.choice((0.1, 1.0, 4.0, 12.0)) * lots.uniform(0.5, 1.5)))
                case "restarts":
                    kind = "restart" if lots.random() < 0.5 else "kill"
                    plan.append(Fault(at, kind, "coordinator", seconds=lots.choice((0.0, 0.5, 3.0, 12.0))))
                case "drains":
                    kind = "drain" if lots.random() < 0.5 else "terminate"
                    plan.append(Fault(at, kind, lots.choice(hosts), seconds=lots.choice((0.2, 2.0, 15.0))))
                case "kills":
                    plan.append(Fault(at, "kill", lots.choice(hosts), seconds=lots.choice((0.2, 2.0, 15.0))))
                case "vanish":
                    plan.append(Fault(at, "vanish", lots.choice(hosts), seconds=lots.choice((1.0, 12.0, 20.0))))
                case "flaps" if len(everyone) > 2:
                    subject, other = lots.sample(hosts if len(hosts) > 1 and lots.random() < 0.7 else everyone, 2)
                    plan.append(Fault(at, "flap", subject, other, seconds=lots.choice((0.05, 0.3, 2.0)) * lots.uniform(0.5, 1.5)))
                case "worker_kills":
                    for _ in range(lots.choice((1, 1, 3))):   # a few at once, or one after the other
                        kind = "kill-worker" if lots.random() < 0.8 else "garble-worker"
                        plan.append(Fault(at + lots.choice((0.0, 0.1, 1.0)) * lots.random(), kind, lots.choice(hosts)))
                case "worker_stops":
                    seconds = lots.choice((0.05, 0.7, 4.0, 20.0)) * lots.uniform(0.5, 1.5)
                    plan.append(Fault(at, "stop-worker", lots.choice(hosts), seconds=seconds))
                case "barren" if options.joiners and lots.random() < 0.3:   # one that nobody needs, for good: what it has goes elsewhere
                    plan.append(Fault(at, "ruin", lots.choice(options.joiners).name))
                case "barren":
                    seconds = lots.choice((0.5, 5.0, 20.0, 60.0)) * lots.uniform(0.5, 1.5)
                    plan.append(Fault(at, "barren", lots.choice(hosts), lots.choice(("", "all", "all")), seconds))
                case "full":
                    plan.append(Fault(at, "full", lots.choice(hosts), seconds=lots.choice((0.5, 5.0, 15.0)) * lots.uniform(0.5, 1.5)))
                case "slow":
                    plan.append(Fault(at, "slow", lots.choice(hosts), seconds=lots.choice((0.5, 5.0, 20.0)) * lots.uniform(0.5, 1.5)))
                case "leaves" if lots.random() < 0.5:
                    plan.append(Fault(at, "leave", lots.choice(clients)))
                case "questions":
                    for _ in range(3):
                        plan.append(Fault(at + lots.random() ** 2, "ask", lots.choice(clients), lots.choice(TOPICS)))
                case "client_kills" if lots.random() < 0.4 or "heirs" in options.faults:
                    plan.append(Fault(at, "kill-client", lots.choice(clients)))
                case _:
                    pass
    for offer in options.joiners:
        plan.append(Fault(lots.random() * options.fault_seconds, "join", offer.name))
    return sorted(plan, key=lambda fault: fault.at)
