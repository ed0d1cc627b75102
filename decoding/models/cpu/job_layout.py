"""Defines the columns of the tables that the kernels work from, and the sizes that their parts agree on.

Tables are int64: addresses, sizes in numbers or bytes. `decoder.py` fills them.
"""

from __future__ import annotations

from typing import Final

from decoding.models.cpu.quantized_forms import NUM_KINDS

# A matrix: the address of its panels, how its weights are stored; biases of its outputs, 0 for none.
# Of one that is stored in blocks the address is that of its runs.
ADDRESS, KIND, BIAS, INPUTS, OUTPUTS, MATRIX = range(6)
# A run of panels of one kind of blocks: the panel behind its last one, the kind, the addresses of values and scales,
# and how far it is from panel to panel in each.
RUN_END, RUN_KIND, RUN_VALUES, RUN_SCALES, RUN_VALUES_STRIDE, RUN_SCALES_STRIDE, RUN = range(7)
# A layer: four matrices, then the addresses of norms (0 where there are none).
QKV, OUT, GATE_UP, DOWN = (i * MATRIX for i in range(4))
INPUT_NORM, POST_NORM, QUERY_NORM, KEY_NORM, LAYER = range(4 * MATRIX, 4 * MATRIX + 5)
# The job: sizes, then addresses.
NUM_ROWS, START, NUM_LAYERS, WIDTH, HEADS, KV_HEADS, HEAD_DIM, CAPACITY, NUM_LOGIT_ROWS, BUFFER_STRIDE = range(10)
TOKENS, KEYS, VALUES, ROTARY, FINAL_NORM, HIDDEN, BUFFER, MIXED, LOGITS, COUNTERS, GIVE_WAY = range(10, 21)
# The place of a token's embedding: panel by panel in the head's matrix where the two are tied, else row by row.
EMBEDDING, EMBEDDING_KIND, EMBEDDING_LANES, EMBEDDING_SCALES = range(21, 25)
CACHE_KIND, THREADS = 25, 26  # how keys and values are stored: float32 or pairs
ALL_NORMED, ALL_ROUNDED = 27, 28  # rows that all threads prepare together
GIVE_UP = 29  # the address of a number that is not 0 once nobody wants the pass any more
MULTIPLY = 30  # and on: the function for each kind of weights
JOB = MULTIPLY + NUM_KINDS
# The scratch memory of each thread.
NORMED, ROUNDED, SCORES, QUERIES, TILE, THREAD = range(6)
# The state that the threads share.
GENERATION, OPEN, INSIDE, ASLEEP, STATE = range(5)

SLOTS: Final = 64  # keys lie in blocks of so many slots: the same number of all slots side by side
COUNTER_BYTES: Final = 64  # each counter that threads write has a cache line of its own
PATIENCE: Final = 1000  # chosen: a thread looks so often for another job before it goes to sleep
SPINS: Final = 200  # chosen: a thread looks so often at a counter before it lets others run
PHASES: Final = 6  # a layer has so many phases
MAX_TASKS: Final = 64  # chosen: about so many tasks a phase
TILE_PANELS: Final = 8  # chosen: a task whose result goes on from a thread's own memory has so many panels
MAX_PARTS: Final = 16  # chosen: threads prepare rows together in at most so many parts
SHARED_NUMBERS: Final = 8192  # chosen: from so many numbers on, threads prepare rows together
