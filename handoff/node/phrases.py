"""What a node and its worker processes say to each other: each frame is a list, and its first entry is one of these numbers.

A task is named by the number of its batch and its index in it. Columns are raw machine integers ("I") or doubles ("d").
"""

from __future__ import annotations

# node -> worker
SETUP = 1        # [inline_bytes, bytes of output per second]
CODE = 2         # [digest, bytes]: keep this code
FORGET_CODE = 3  # [digests]
MAP = 4          # [serials, sizes] + one descriptor each: map these large values
UNMAP = 5        # [serials]
BATCH = 6        # [batch, run, node's name, tasks "I", attempts "I", kinds, kind per task "I" or b"" when there is one kind,
                 #  literals or [] when all are empty, fan_in "I" or b"" when there are no inputs, references "I", given, names,
                 #  cost, costs, gpus, devices, urgent "I", is_at_once]
                 #   kinds: [[digests, form, is_async, name, is_timed], ...]; of timed ones it is written down when their call begins
                 #   a reference below the number of tasks is the result of that earlier task of the batch; others index `given`
                 #   given: bytes of a small value, the serial of a mapped one, [serial, start, bytes] of a part of one, None for one
                 #    that is not there
                 #   names: {index: [target's name, [names of each input's source]]} for those who may ask
                 #   cost: [[resource, steps], ...] that was granted; costs: the same per task, or [] when all were granted `cost`
                 #   gpus: their indices; devices: "2,3", what CUDA calls these
                 #   urgent: indices of tasks whose results others wait for, while the batch goes on
                 #   is_at_once: they are coroutines that run side by side, and not one after the other
CANCEL = 7       # [batch, indices]: cancel those of these coroutines that run

# worker -> node
READY = 16       # []
RESULTS = 17     # [batch, first index, values, seconds "d", ended "d"]: consecutive tasks; a value is bytes, or the size of
                 #  a large one, whose descriptor is beside the frame, in their order
SCATTERED = 18   # [batch, indices "I", values, seconds "d", ended "d"]: the same for tasks that end in any order
BROKE = 19       # [batch, index, cause, type, text, traceback, seconds, body]; a cause of messages.Failed, or
                 #  "cancelled", or "skipped": it takes the result of an earlier task of the batch, which failed
OUTPUT = 20      # [runs, tasks "I", streams, texts]
STARTED = 21     # [batch, index]: said of timed coroutines that run side by side when their code and inputs are loaded, and the call begins
HANDED_BACK = 22  # [batch, index]: this task of it and those behind it were not begun, and will not be
LOADED = 23      # []: all that it needs is loaded; one that ends before that ended as it started, whatever it was given
PACKING = 24     # [batch, index, size]: its result, so large, is being written to shared memory
BLOCKED = 25     # [function, or "" where it is not known, place, count]: it keeps so many other coroutines from going on

CUDA_BROKEN_STATUS = 86   # a worker exits with it when nothing on a GPU can succeed in it any more

# The marker, memory shared with the node, four numbers "Q": batch (0 when idle) and index of the task that executes now, written by the
# worker before it looks at the third, written by the node: of batches up to this number nothing more is to be begun. The fourth is written
# by the worker in batches with timed tasks: when the call began, in nanoseconds of the monotonic clock; 0 while code and inputs are loaded.
MARKER_BYTES = 32
