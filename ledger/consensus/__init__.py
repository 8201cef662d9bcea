"""Simplex consensus (Chan and Pass, 2023) with separate nullify votes, as a pure state machine.

Blocks are opaque here: a digest, a parent, a height, a time. Records, rules and state belong to the application behind three
questions (build, check, commit), bytes on the wire to the peers' links, durability to the driver. Time comes in with each
input; nothing here has a clock, a thread, or chance. The clause numbers (P5.3) are those of docs/PROTOCOL.md.

**A view in one paragraph.** The leader of view v proposes a block on the highest certified parent whose gap of views is
nullified. A validator that holds the certificate of exactly that parent and the nullifications of the gap, and finds the
block valid, *notarizes* it: one proposal a view, ever. q notarize votes are a *notarization*: whoever holds it and has
executed the block votes to *finalize* and goes on to v + 1. q finalize votes are a *finalization*: the block and its
ancestors are final. Whoever waits too long votes to *nullify* (at once, if the leader missed its turn before and has not
voted since); q of those are a *nullification*, with which everybody goes on to v + 1. A validator never both nullifies and
finalizes a view.

**Why it is safe.** Two quorums share an honest validator. So a view has at most one notarized proposal, and never both a
finalization and a nullification. Every ancestor of a notarized block is notarized, for its voters asked for that certificate
by digest. Let B of view v be final, and suppose a later final chain leaves B out. Its first block above v has a parent below
v, so its honest voters held a nullification of v: a contradiction. Safety uses no clock; timers only move a replica to say
"nullify", which is always safe to say in a view that it did not finalize.

**How it is built.** `Replica.step(input) -> effects` takes the input into one `State` and then lets the roles act until none
finds more to do. The roles look at what is known, not at what came last, so lost, doubled and late inputs need no rules of
their own.

| module | what it answers for |
| --- | --- |
| `messages`, `inputs`, `effects` | the vocabulary; the driver's contract stands in `effects` |
| `quorum`, `leader`, `epoch`, `parameters` | arithmetic, members, times |
| `safety` | the guard: the only holder of the key (P4) |
| `tally`, `certificates` | counting votes, verifying lazily, keeping certificates (P5.9, P5.10) |
| `certifying` | what follows at once from a vote or certificate (P5.1, P5.4-P5.6, P7.5) |
| `voting` | the voter (P5.3, P5.4, P5.7) |
| `proposing` | the leader (P5.2, P6.3, P8.1) |
| `executing`, `blocks` | checks, parents first; the rules between a block and its parent |
| `finality` | the final chain, catch-up by height, commits, the next epoch (P5.6, P7.2, P8.2) |
| `pacemaker` | busy or idle, timers (P5.1, P6.2) |
| `fetching`, `sharing`, `receiving` | asking, telling, listening (P5.7, P5.8, P7.1, P7.4) |
| `durable`, `replica` | what survives a crash (P3); restore and dispatch |
"""
