"""The mutant bank: defects of the kinds that have cost others money, each an exact replacement of
a text that stands once in one file, and the tests that are to see it.

`Deploy/mutants` applies them; `Tests/tidy/test_mutants.py` sees to it that each still fits.
"""

from bank_counting import COUNTING
from bank_credentials import CREDENTIALS
from bank_journal import JOURNAL
from bank_peers import PEERS
from bank_storage import STORAGE

BANK = [*COUNTING, *CREDENTIALS, *JOURNAL, *STORAGE, *PEERS]

# By file: test suites that run nothing else of these files. Mutants of different ones among them
# may share a build.
UNITS = {
    "Sources/TollgateCore/" + name: suites.split() for name, suites in {
        "Credentials/Base64URL.swift": "Base64URLTests",
        "Credentials/JSONScanner.swift": "JSONScannerTests",
        "Credentials/SecretCheck.swift": "SecretCheckTests",
        "Ledger/JournalReader.swift": "JournalReaderTests ShardJournalTests",
        "Limits/Window.swift": "WindowTests WindowBoundTests",
        "Policy/Proration.swift": "ProrationTests",
        "Routes/PathBytes.swift": "RouteTableTests",
        "Time/BillingClock.swift": "BillingClockTests",
    }.items()}
