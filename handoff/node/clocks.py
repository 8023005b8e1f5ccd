"""When given tasks have had all the time they may take."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from handoff.node.crew import Batch


class Clocks:
    """Alarms for batches, each of one task. The alarm of a batch that ended is silent."""

    def __init__(self) -> None:
        self.alarms: list[tuple[float, int, Batch]] = []
        self._order = 0
        self._sweep_at = 64

    def set(self, when: float, batch: Batch) -> None:
        """Wake at `when`, unless the batch has ended."""
        self._order += 1
        heappush(self.alarms, (when, self._order, batch))
        if len(self.alarms) > self._sweep_at:  # long limits on short tasks would pile up
            self.alarms = [alarm for alarm in self.alarms if alarm[2].left]
            heapify(self.alarms)
            self._sweep_at = 2 * len(self.alarms) + 64

    @property
    def deadline(self) -> float | None:
        """The next alarm."""
        heap = self.alarms
        while heap and not heap[0][2].left:
            heappop(heap)
        return heap[0][0] if heap else None

    def due(self, now: float) -> list[Batch]:
        """The batches whose time is over, in the order of their alarms."""
        found = []
        heap = self.alarms
        while heap and heap[0][0] <= now:
            batch = heappop(heap)[2]
            if batch.left:
                found.append(batch)
        return found
