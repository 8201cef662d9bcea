"""Every bound of the ledger, with its reason. Sizes in bytes unless the name says otherwise; times in ms or as named.

Bounds that are agreed on (a block over one is invalid) and local bounds (a queue's length) stand here together, so that
nobody has to look for a second place.
"""

from typing import Final

# --- records (DESIGN 4) -------------------------------------------------------------------------------------------------
MAX_ENTRY_BYTES: Final = 60 * 1024
"""One log entry. A tile of entries caps an entry at 65,535 bytes (a 16-bit length); the rest is headroom."""
MAX_SIGNATURES: Final = 8
"""Signatures of one envelope: issuer, plus signers that a body names."""
MAX_LOT_WEAPONS: Final = 1_000
"""Weapons of one weapon.register; more would not fit into an entry with realistic serials."""
MAX_TRANSFER_WEAPONS: Final = 500
"""Weapons of one offer: one lorry, one licence line; keeps an all-or-nothing accept small."""
MAX_INCIDENT_WEAPONS: Final = 500
"""Weapons of one incident report; the same reasoning as a transfer."""
MAX_REFS: Final = 8
"""References from one record to earlier ones."""
MAX_COMPONENTS: Final = 12
"""Marked components of one weapon; forms know six kinds."""
MAX_SERIAL_CHARS: Final = 32
"""Normalised serial; the longest seen in real traces is well under 20."""
MAX_MARKED_CHARS: Final = 64
"""The serial verbatim as read, with its spaces and hyphens."""
MAX_NAME_CHARS: Final = 100
"""Names of parties, models and makes."""
MAX_CODE_CHARS: Final = 10
"""Make, type and calibre codes; the longest in use have 5."""
MAX_TEXT_CHARS: Final = 500
"""Free remarks. Never personal data (DESIGN 13)."""
MAX_MAKE_CODES: Final = 500
"""Make codes of one party document; keeps the document under 4 KiB."""
MAX_ROLES: Final = 12
"""Roles of one party; there are fewer kinds than that."""
MAX_DISTINCT_FROM: Final = 20
"""Existing identities that a second weapon of the same make and serial must list."""
MAX_DOCUMENT_BYTES: Final = 64 * 1024
"""One document of the state: 500 make codes or 64 validators stay well below."""

RECORD_MAX_AGE_MS: Final = 30 * 24 * 3600 * 1000
"""A record older than this at its block is refused; record ids need remembering only this long (DESIGN 4.2)."""
RECORD_MAX_AHEAD_MS: Final = 10_000
"""A record may be this far ahead of its block: the tolerated clock error."""
MAX_OFFER_LIFE_MS: Final = 366 * 24 * 3600 * 1000
"""An offer expires within a year; an open-ended one would block a weapon for ever."""
MAX_PROPOSAL_LIFE_MS: Final = 90 * 24 * 3600 * 1000
"""A proposal that no quorum supported within a quarter is opened again, if anybody still wants it."""
KEY_RECOVERY_DELAY_MS: Final = 72 * 3600 * 1000
"""A sponsor's recovery key becomes active this much later, so that the party can object (DESIGN 12)."""

# --- blocks (DESIGN 5) --------------------------------------------------------------------------------------------------
MAX_BLOCK_BYTES: Final = 4 * 1024 * 1024
"""Entries of one block: fits twice into a frame."""
MAX_BLOCK_RECORDS: Final = 4_096
"""Records of one block: bounds execution to well under a view's timer."""
MAX_BLOCK_WEAPONS: Final = 2_000
"""Weapons touched by one block: bounds the state tree pass; two full lots."""
BLOCK_BUILD_MS: Final = 100
"""How long a leader works on a block (its own bound, not agreed on), from reading its records to sealing them: the others
take as long to check it, so that blocks follow each other several times a second however slow the machine is just then. It
is a tenth of the lead timer: a block that takes longer than its view is work for nothing, again in every view."""
BLOCK_MAX_AHEAD_MS: Final = 10_000
"""A block further ahead of a voter's clock is not yet acceptable (never invalid)."""
STATE_HISTORY_BLOCKS: Final = 64
"""Blocks for which overwritten documents are kept: a provenance answer may lag the tip by so many."""

# --- consensus (PROTOCOL) -----------------------------------------------------------------------------------------------
MAX_VALIDATORS: Final = 64
"""Members of an epoch: certificates are plain lists of signatures."""
VIEW_WINDOW: Final = 64
"""Views above the current one for which votes are kept (P5.10)."""
VIEW_RETENTION: Final = 16
"""Views below the highest final one for which votes are still listened to (P5.10)."""
MAX_GAP_VIEWS: Final = 1_024
"""Nullifications one proposal may carry; a longer gap is fetched in pages."""
STANDSTILL_PAGE_ITEMS: Final = 64
"""Certificates and votes re-sent at one standstill (P5.8)."""
MAX_REQUESTED_VIEWS: Final = 64
"""Views of one request for certificates; a longer gap is asked for in pages (P7.4)."""
PROPOSAL_BODY_WINDOW: Final = 4
"""Views above the current one whose proposal is buffered with its block; of later ones only the vote is, and the block is
fetched when its view comes. Bounds what early leaders can make us hold to 16 MiB."""
ENTRY_NONCE_BYTES: Final = 16
"""What a validator that lost its votes draws at its start: no two starts share it (P7.5)."""
ENTRY_ANSWERS_PER_INTERVAL: Final = 8
"""Entry certificates shown to one peer in a retry interval: it asks once in each, and once for every new link (P7.5)."""
NEAR_BLOCKS: Final = 8
"""Missing final blocks up to this many are fetched one by one over the links; more, by height over HTTP (P7.2)."""
CATCH_UP_AHEAD_BLOCKS: Final = 32
"""Uncommitted final blocks held, beyond which no more are fetched, and none but these executed."""
COMMIT_GROUP_BLOCKS: Final = CATCH_UP_AHEAD_BLOCKS // 2
"""Blocks committed in one transaction while catching up: as many may be executed while these are written."""
COMMIT_GROUP_BYTES: Final = 8 * 1024 * 1024
"""Entries of those blocks (one block may have more): bounds the rows held, and how much a crash makes to be done again."""
MAX_UNPROVEN_BLOCKS: Final = 512
"""Fetched blocks held before a finalization among them proves them; honest chains have one every few blocks."""
MAX_COSIGNATURE_BYTES: Final = 512
"""The newest cosignature repeated in a Status; opaque to consensus."""

# --- text formats (DESIGN 6) --------------------------------------------------------------------------------------------
MAX_NOTE_BYTES: Final = 64 * 1024
"""A signed note: 64 cosignature lines of 150 bytes and room."""
MAX_NOTE_SIGNATURES: Final = 100
"""Signature lines of one note."""
MAX_CHECKPOINT_TEXT_CHARS: Final = 1_000
"""A checkpoint's text in a piece of evidence: origin, size, root, and room for extension lines."""
MAX_EVIDENCE_BYTES: Final = 16 * 1024
"""A piece of evidence: two statements; fits into a record."""
MAX_EVIDENCE_OF_AGENCY: Final = 16
"""Pieces of evidence of one kind against one agency that a node keeps: each is enough, more of them change nothing."""
MAX_POLICY_BYTES: Final = 64 * 1024
"""A policy file."""
MAX_POLICY_LINES: Final = 1_000
"""Lines of a policy file."""
MAX_SUCCESSION_STEPS: Final = 1_024
"""Changes of the validators that one succession shows: one a month for 85 years."""
MAX_SUCCESSION_BYTES: Final = 64 * 1024 * 1024
"""A succession file; a step of seven agencies has some 20 KiB."""
MAX_TILE_ENTRY_BYTES: Final = 65_535
"""One entry of an entry bundle: its length is a 16-bit number."""
MAX_PROOF_HASHES: Final = 64
"""Hashes of one Merkle proof: a log of 2**64 entries."""
MAX_PROOF_EXTRA_BYTES: Final = 64 * 1024
"""Opaque extra data of other people's log proofs; our own have none."""
MAX_STATE_PROOF_HASHES: Final = 256
"""Siblings of one state proof: the bits of a key."""
MAX_BUNDLE_BYTES: Final = 256 * 1024 * 1024
"""An evidence bundle; a weapon with 1,000 hops in full lots stays below."""
MAX_BUNDLE_RECORDS: Final = 10_000
"""Records in a bundle."""
MAX_GENESIS_BYTES: Final = MAX_TILE_ENTRY_BYTES
"""A genesis document is log entry 0, and a larger one could not be served or audited: room for some 36 agencies, each with
six keys and a CA certificate."""
MAX_ANSWER_BYTES: Final = 1024 * 1024
"""A node's answer about one document of the state, with its proofs; the largest document takes 90 KiB of it in base64."""

# --- wire and API (DESIGN 10, 11) ---------------------------------------------------------------------------------------
MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
"""One peer frame: a full block with its certificates."""
MAX_REQUEST_BYTES: Final = 4 * 1024 * 1024
"""One HTTP request body."""
API_BODIES_BYTES: Final = 64 * 1024 * 1024
"""Request bodies held at once, each until it is answered: MAX_API_CONNECTIONS of the largest would be 8 GiB."""
API_PARTY_BODIES_BYTES: Final = 16 * 1024 * 1024
"""Of those, of one party: four of the largest, or 150 batches of 250 records."""
REQUEST_HEADER_TIMEOUT_S: Final = 10
"""From the first byte of an HTTP request to the last of its headers, which fit into one packet or two."""
REQUEST_BODY_TIMEOUT_S: Final = 30
"""From there to the end of its body: the largest at 140 kB a second."""
MAX_API_CONNECTIONS: Final = 2_000
"""Connections and requests of the API at once, half of the files that the service may open; beyond them answers are 503."""
MAX_BATCH_RECORDS: Final = 500
"""Envelopes of one POST."""
MAX_PAGE_ITEMS: Final = 500
"""Items of one page of a list."""
MAX_PEER_QUEUE_FRAMES: Final = 4_096
"""Frames waiting for one slow peer before its link is dropped."""
MAX_PEER_QUEUE_BYTES: Final = 64 * 1024 * 1024
"""Bytes waiting for one slow peer before its link is dropped."""
MAX_GOSSIP_BYTES: Final = 32 * 1024
"""Entries of one gossip frame, but for a single larger one: a vote waits behind at most this much gossip on a link, and what
the kernel holds of it."""
MAX_GOSSIP_RECORDS: Final = 1_024
"""Entries of one gossip frame; the smallest entry has about 400 bytes, so bytes bind first."""
MAX_OBSERVERS: Final = 64
"""Agencies besides the validators that a node links to: each gets every vote and block."""
MAX_CONNECTIONS_PER_PEER: Final = 8
"""Connections of one agency to the peer port at once: a link, the one that replaces it, catch-up requests."""
MAX_OPENING_BYTES: Final = 1_024
"""One message of a link's opening: names, a nonce, a signature."""
OPENING_TIMEOUT_MS: Final = 10_000
"""From the TCP connection to the end of a link's opening; four round trips."""
LINK_GRACE_MS: Final = 1_000
"""How long the higher of two parties waits for the lower to dial, before it tries whether the lower cannot."""
LINK_REFUSED_MS: Final = 30_000
"""How long it then lets alone a node that says that it does the dialling."""
RECONNECT_FIRST_MS: Final = 100
"""The first pause before a lost link is dialled again; doubles with every failure."""
RECONNECT_MAX_MS: Final = 1_000
"""The longest such pause: a dial costs a packet, a node that is back must not wait."""
CONNECT_TIMEOUT_MS: Final = 2_000
"""One attempt at a TCP connection to a peer: the round trip, and a second try after the usual second. The next dial comes
sooner than TCP's own third."""
LINK_SILENCE_MS: Final = 5_000
"""What a peer's kernel has not acknowledged for so long ends the link: TCP's own pauses between attempts stay shorter than
that, and a new link carries what the old one would have."""
LINK_UNSENT_BYTES: Final = 32 * 1024
"""What a link's kernel holds that it has not sent yet: left alone it takes megabytes, and a vote waits behind them. A
quarter of a second at 1 Mbit/s; it costs no throughput, for what is under way does not count."""
LINK_TIME_SHARE: Final = 0.25
"""The part of the event loop's processor time that one link's messages may take in the long run; beyond it the link is read
more slowly. An honest peer's votes, blocks and gossip at full load take a tenth of it."""
LINK_TIME_BURST_S: Final = 1.0
"""Such time that a link may take at once: the pages of somebody who catches up."""
MAX_FORGERIES: Final = 64
"""Votes, proposals, certificates and pieces of evidence that do not hold, from one peer in `FORGERIES_MS`, at which its link
is cut: an honest one sends none, a broken one may recover."""
FORGERIES_MS: Final = 10_000
"""Slower forgeries cost a node nothing: six signatures a second."""
LINK_SHUNNED_MS: Final = 30_000
"""How long such a peer gets no link."""
LINK_STABLE_MS: Final = 10_000
"""A link that lived this long was a good one: the next pause is the first again."""
FETCH_SILENCE_MS: Final = 10_000
"""Nothing of a page of blocks for so long: another peer is asked. A slow line still carries something."""
CATCHUP_TIMEOUT_MS: Final = 60_000
"""One catch-up answer, whole: MAX_FRAME_BYTES over 1.2 Mbit/s."""
CATCHUP_SLOW_MS: Final = 5_000
"""How long a catch-up answer may take, however little it holds, without others being asked before its giver."""
CATCHUP_PARTY_CONCURRENCY: Final = 2
"""Catch-up answers being made at once for one agency."""
CATCHUP_CONCURRENCY: Final = 4
"""Catch-up answers being made at once; each holds at most MAX_FRAME_BYTES."""
MAX_BLOCKS_PER_REQUEST: Final = 64
"""Blocks of one catch-up answer (and never more than MAX_FRAME_BYTES)."""
MEMPOOL_RECORDS: Final = 20_000
"""Records waiting for a block."""
MEMPOOL_BYTES: Final = 64 * 1024 * 1024
"""Bytes of those records."""
MEMPOOL_ISSUER_RECORDS: Final = 10_000
"""Of those, from one issuer; and never more than half of the room that is left, so that others always find some."""
MEMPOOL_PEER_RECORDS: Final = 10_000
"""Of those, from one source (a client's party, or a peer); and never more than the room that is left."""
MEMPOOL_WEAPONS: Final = 100_000
"""Weapons named by those records: decoded, each takes about 600 bytes beside the entry."""
MEMPOOL_PROMPT_DOCUMENTS: Final = 2_048
"""Documents touched by one issuer's waiting records, up to which none is refused because the first of them wait long: some
batches of single records, two lots of 500 weapons."""
MEMPOOL_WAIT_MS: Final = 1_000
"""How long an issuer's oldest record may have waited for a block when more than `MEMPOOL_PROMPT_DOCUMENTS` of it wait.
Beyond it, it sends more than its share of the blocks holds, and what it adds would only wait longer. Three full blocks."""
MEMPOOL_ASIDE_RECORDS: Final = 2_000
"""Records of peers that are not (or no longer) valid on the state as this node has it, kept for when it has moved."""
MEMPOOL_ASIDE_CHECKS: Final = 64
"""Records set aside that are tried again after a block: bounds what they cost, and how long each is kept."""
MEMPOOL_CHECK_DOCUMENTS: Final = 2_048
"""Documents touched by records that are held against the state again at a stretch: a lot touches 500, and 64 lots at once
would keep a block waiting for half a second."""
MEMPOOL_REMEMBERED: Final = 10_000
"""Refused and expired records whose fate is remembered for those who ask."""
VERIFIED_CACHE_BYTES: Final = 48 * 1024 * 1024
"""Entries whose signatures verified, kept until a block holds them: the mempool's records and those of a few blocks."""
VERIFY_AHEAD_BYTES: Final = 24 * 1024 * 1024
"""Entries of fetched blocks whose records are verified before they are executed: the page being executed, the next, and room
for what was fetched in vain."""
VERIFY_AHEAD_RECORDS: Final = 2_000
"""Records of a fetched page from which on a process is worth its while that verifies them."""
VERIFIER_KEYS: Final = 50_000
"""Public keys that this process remembers."""
DOCUMENT_CACHE_BYTES: Final = 32 * 1024 * 1024
"""Decoded documents at the newest block kept in memory; the others are read from the store."""
GOSSIP_BACKLOG_BYTES: Final = 4 * 1024 * 1024
"""Gossip of one peer waiting for admission; more is dropped, of who has most in it, and comes again (P6.1)."""
GOSSIP_BACKLOG_RECORDS: Final = 10_000
"""Entries of it: as many of the smallest as fill it. What a hostile peer calls an entry may have no bytes at all."""
GOSSIP_QUEUES: Final = 64
"""Queues that a peer's gossip waits in, the issuers spread over them by chance: who sends little waits behind few."""
ADMISSION_RECORDS: Final = 2_000
"""Records of one party that are being looked at, or wait for it; more are refused unread. A node looks at so many in a
second."""
ADMISSION_PROMPT_RECORDS: Final = 500
"""Of them, as many as are not refused because the first of them take long: one batch."""
ADMISSION_WAIT_MS: Final = 500
"""How long looking at what a party submitted may take when it submits more: beyond it, this is refused unread."""
ADMISSION_PUT_OFF_MS: Final = 500
"""How long a party is refused unread after nothing of a submission found room: half of what it was told to wait."""
REFUSAL_HOLD_MS: Final = 200
"""How long an answer that asks to come again later is held back: who comes again at once, whatever it says, does so five
times a second on each connection, and not as often as this node can say no."""
REGOSSIP_FRAMES: Final = 32
"""Frames of pending records repeated at once, at every standstill interval and to a peer that connects (P6.1)."""
DRIVER_BACKLOG_BYTES: Final = 32 * 1024 * 1024
"""What waits to be durable before it is sent; beyond it no more messages are read from the links."""
FINAL_WAITERS: Final = 50_000
"""Records whose submitters wait for finality at once."""
COSIGNATURE_SIZES: Final = 64
"""Checkpoint sizes whose cosignatures are kept (DESIGN 6)."""
MAX_REQUESTED_COSIGNATURE_SIZES: Final = 16
"""Sizes, with which epochs closed, whose cosignatures are asked for at once; all of them fit one answer."""

# --- snapshots (PROTOCOL P7.3) ------------------------------------------------------------------------------------------
SNAPSHOT_BLOCKS: Final = 64
"""Every so many blocks the seal names a snapshot. A node makes one of few of them."""
SNAPSHOT_CHUNK_DOCUMENTS: Final = 256
"""Documents of one chunk, about: some 128 KiB of weapons."""
MAX_SNAPSHOT_DEPTH: Final = 16
"""Bits of the hashed key that tell chunks apart: beyond 16,000,000 documents the chunks grow."""
MAX_SNAPSHOT_MANIFEST_BYTES: Final = 1_024
"""A manifest: six fields."""
MAX_ANCHOR_BLOCKS: Final = 256
"""Headers between the seal that names a snapshot and the finalization above it; honest chains have one every few blocks."""
MAX_PAGE_BYTES: Final = 3 * MAX_FRAME_BYTES
"""One page of what a node that joins asks for: a frame's worth of items, or a single one that is larger."""
SNAPSHOT_GROWTH_PERCENT: Final = 10
"""By how much the log must have grown since a node's newest snapshot for it to make another."""
SNAPSHOT_MIN_ENTRIES: Final = 10_000
"""Entries by which it must have grown at least: less is caught up with by blocks in seconds."""
SNAPSHOTS_KEPT: Final = 2
"""Snapshots a node keeps: whoever is fetching the last but one can go on."""
MAX_CHUNKS_PER_REQUEST: Final = 64
"""Chunks of documents in one answer."""
MAX_TILES_PER_REQUEST: Final = 256
"""Hash tiles of one level in one answer: 2 MiB."""
JOIN_AHEAD_PAGES: Final = 4
"""Pages fetched ahead of what is verified and stored: each at most `MAX_PAGE_BYTES`."""
JOIN_BLOCKS_PER_REQUEST: Final = 32
"""Blocks asked for at once while joining: some 4 MiB of single records."""
MAX_EPOCH_STEPS: Final = 64
"""Changes of the validators shown in one answer; more are asked for in pages."""

# --- files --------------------------------------------------------------------------------------------------------------
MAX_CONFIG_BYTES: Final = 256 * 1024
"""A node's configuration file."""
MAX_IDENTITY_BYTES: Final = 64 * 1024
"""The public half of one agency's identity."""
MAX_PEM_BYTES: Final = 16 * 1024
"""A certificate or private key in PEM."""
MAX_KEY_FILE_BYTES: Final = 64 * 1024
"""A file of sealed keys: one identity has six keys of 100 bytes."""
MAX_KEY_FILE_MEMORY_BYTES: Final = 1024 * 1024 * 1024
"""Memory that a key file may ask of the derivation that opens it: a hostile file must not exhaust the machine."""
MAX_KEY_FILE_OPERATIONS: Final = 16
"""Passes over that memory; libsodium's most costly preset has 4."""
MAX_PASSPHRASE_BYTES: Final = 1024
"""A passphrase; a credential of the service manager is far shorter."""
MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024
"""A manifest file: 100,000 lines and room."""
MAX_MANIFEST_LINES: Final = 200_000
"""Lines of a manifest."""
