"""
Chaos: real worker processes, a real sandbox over HTTP that misbehaves, `kill -9` at random moments, then the truth.

    python -m benchmarks.chaos --kills 1000 --seed 7

A play is one service with its targets. In every act the audiences change; workers
run the core while the service fails, and are killed. Now and then, and at the end,
the weather calms down, the workers run until nothing is owed, and what the service
holds is compared with what the audiences want. The seed fixes the audiences, the
faults' kinds and the kills; what meets what on the wire is left to the machine.
"""
