/// The directory's tables, by numbered steps. `user_version` says how many were taken. A step that
/// was released is never edited: what follows is a step of its own.
///
/// Instants are milliseconds since 1970-01-01T00:00:00Z. Every row of a tenant begins with the
/// organization, which is in every key that leads to it: a query cannot find another tenant's.
enum Schema {
    /// "TGdr", so that other programs' files, and these in other programs, are told.
    static let applicationID: Int64 = 0x5447_6472

    static let steps = [first, upkeep, credits, ledgerMark, resets]

    private static let first = tenants + credentials + refresh + records

    /// `LedgerMark`; both numbers are of 64 bits, taken for signed ones. One row.
    private static let ledgerMark = """
        CREATE TABLE ledger_mark(
          one INTEGER NOT NULL PRIMARY KEY CHECK(one = 1),
          ledger INTEGER NOT NULL,
          generation INTEGER NOT NULL
        ) STRICT;

        """

    /// Resets of quotas that were decided, and that the ledger may not have yet. Each is done once,
    /// by its id.
    private static let resets = """
        CREATE TABLE resets(
          organization TEXT NOT NULL PRIMARY KEY REFERENCES organizations(id) ON DELETE CASCADE,
          id BLOB NOT NULL CHECK(length(id) = 16),
          at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;

        """

    private static let tenants = """
        CREATE TABLE organizations(
          id TEXT NOT NULL PRIMARY KEY CHECK(length(id) > 0),
          name TEXT NOT NULL,
          personal INTEGER NOT NULL CHECK(personal IN(0,1)),
          status TEXT NOT NULL CHECK(status IN('active','suspended')),
          created INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE users(
          organization TEXT NOT NULL REFERENCES organizations(id) ON DELETE CASCADE,
          id TEXT NOT NULL CHECK(length(id) > 0),
          name TEXT NOT NULL,
          status TEXT NOT NULL CHECK(status IN('active','suspended')),
          role TEXT CHECK(role IN('owner','admin','member')),
          created INTEGER NOT NULL,
          PRIMARY KEY(organization, id)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE subscriptions(
          organization TEXT NOT NULL PRIMARY KEY REFERENCES organizations(id) ON DELETE CASCADE,
          plan TEXT NOT NULL CHECK(length(plan) > 0),
          status TEXT NOT NULL
            CHECK(status IN('trialing','active','past_due','suspended','canceled')),
          anchor INTEGER NOT NULL,
          zone TEXT NOT NULL,
          since INTEGER NOT NULL,
          next_plan TEXT,
          next_mode TEXT CHECK(next_mode IN('carry','prorate','reset')),
          next_at INTEGER,
          CHECK((next_plan IS NULL) = (next_mode IS NULL)),
          CHECK((next_plan IS NULL) = (next_at IS NULL))
        ) STRICT, WITHOUT ROWID;
        -- Asked every second.
        CREATE INDEX subscriptions_next ON subscriptions(next_at) WHERE next_at IS NOT NULL;
        -- user '' is the whole organization.
        CREATE TABLE overrides(
          organization TEXT NOT NULL REFERENCES organizations(id) ON DELETE CASCADE,
          user TEXT NOT NULL,
          limit_name TEXT NOT NULL,
          units INTEGER NOT NULL CHECK(units >= 0),
          expires INTEGER,
          prorated INTEGER NOT NULL CHECK(prorated IN(0,1)),
          PRIMARY KEY(organization, user, limit_name)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX overrides_prorated ON overrides(expires) WHERE prorated = 1;

        """

    /// What is to be done later, what a start has to know of lives before it, and by what rows are
    /// found that are too old to be kept.
    private static let upkeep = """
        -- Organizations that are gone, and whose counters the ledger may have still.
        CREATE TABLE leftovers(
          organization TEXT NOT NULL,
          personal INTEGER NOT NULL CHECK(personal IN(0,1)),
          at INTEGER NOT NULL,
          PRIMARY KEY(organization, personal)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE marks(
          name TEXT NOT NULL PRIMARY KEY,
          value INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX admin_log_at ON admin_log(at);
        CREATE INDEX refresh_tokens_spent ON refresh_tokens(spent) WHERE spent IS NOT NULL;

        """

    /// In the order of their users, so that a start reads both side by side.
    private static let credentials = """
        CREATE TABLE api_keys(
          organization TEXT NOT NULL,
          id TEXT NOT NULL CHECK(length(id) = 16),
          user TEXT NOT NULL,
          name TEXT NOT NULL,
          environment TEXT NOT NULL,
          digest BLOB NOT NULL CHECK(length(digest) = 32),
          pepper INTEGER NOT NULL,
          previous_digest BLOB CHECK(length(previous_digest) = 32),
          previous_pepper INTEGER,
          previous_until INTEGER,
          permissions TEXT,
          addresses TEXT,
          rate_units INTEGER CHECK(rate_units > 0),
          rate_seconds INTEGER CHECK(rate_seconds > 0),
          created INTEGER NOT NULL,
          creator TEXT NOT NULL,
          expires INTEGER,
          revoked INTEGER,
          last_used INTEGER,
          PRIMARY KEY(organization, user, id),
          FOREIGN KEY(organization, user) REFERENCES users(organization, id) ON DELETE CASCADE,
          CHECK((previous_digest IS NULL) = (previous_until IS NULL)),
          CHECK((previous_digest IS NULL) = (previous_pepper IS NULL)),
          CHECK((rate_units IS NULL) = (rate_seconds IS NULL))
        ) STRICT, WITHOUT ROWID;
        CREATE UNIQUE INDEX api_keys_id ON api_keys(id);
        CREATE UNIQUE INDEX api_keys_organization ON api_keys(organization, id);

        """

    private static let refresh = """
        CREATE TABLE refresh_families(
          organization TEXT NOT NULL,
          session TEXT NOT NULL CHECK(length(session) = 22),
          user TEXT NOT NULL,
          created INTEGER NOT NULL,
          expires INTEGER NOT NULL,
          idle_milliseconds INTEGER NOT NULL CHECK(idle_milliseconds > 0),
          permissions TEXT,
          revoked INTEGER,
          reason TEXT CHECK(reason IN('asked','reuse')),
          PRIMARY KEY(organization, session),
          FOREIGN KEY(organization, user) REFERENCES users(organization, id) ON DELETE CASCADE,
          CHECK((revoked IS NULL) = (reason IS NULL))
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX refresh_families_user ON refresh_families(organization, user);
        CREATE INDEX refresh_families_expires ON refresh_families(expires);
        CREATE TABLE refresh_tokens(
          hash BLOB NOT NULL PRIMARY KEY CHECK(length(hash) = 32),
          organization TEXT NOT NULL,
          session TEXT NOT NULL,
          parent BLOB,
          successor BLOB,
          salt BLOB CHECK(length(salt) = 32),
          issued INTEGER NOT NULL,
          idle_expires INTEGER NOT NULL,
          spent INTEGER,
          FOREIGN KEY(organization, session)
            REFERENCES refresh_families(organization, session) ON DELETE CASCADE,
          CHECK((spent IS NULL) = (successor IS NULL))
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX refresh_tokens_session ON refresh_tokens(organization, session);
        -- One token of a family can be used, never two: not even a defect of ours makes more.
        CREATE UNIQUE INDEX refresh_tokens_live ON refresh_tokens(organization, session)
          WHERE spent IS NULL;

        """

    /// Revocations outlive what they revoke, and the log outlives everything: no foreign keys.
    private static let records = """
        CREATE TABLE revocations(
          organization TEXT NOT NULL,
          personal INTEGER NOT NULL CHECK(personal IN(0,1)),
          kind TEXT NOT NULL CHECK(kind IN('jti','session','user','organization')),
          subject TEXT NOT NULL,
          at INTEGER NOT NULL,
          expires INTEGER NOT NULL,
          PRIMARY KEY(organization, personal, kind, subject)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX revocations_expires ON revocations(expires);
        CREATE TABLE signing_keys(
          id TEXT NOT NULL PRIMARY KEY,
          state TEXT NOT NULL CHECK(state IN('verifying','signing','retiring','retired')),
          added INTEGER NOT NULL,
          promoted INTEGER,
          demoted INTEGER,
          retired INTEGER
        ) STRICT, WITHOUT ROWID;
        CREATE UNIQUE INDEX signing_keys_signing ON signing_keys(state) WHERE state = 'signing';
        CREATE TABLE admin_log(
          number INTEGER PRIMARY KEY AUTOINCREMENT,
          at INTEGER NOT NULL,
          uid INTEGER NOT NULL,
          pid INTEGER NOT NULL,
          organization TEXT,
          action TEXT NOT NULL,
          subject TEXT NOT NULL,
          before TEXT,
          after TEXT
        ) STRICT;
        CREATE INDEX admin_log_organization ON admin_log(organization, number);

        """

    /// What is burnt of a grant is the ledger's; here only of those that it has forgotten.
    private static let credits = """
        CREATE TABLE grants(
          organization TEXT NOT NULL REFERENCES organizations(id) ON DELETE CASCADE,
          id TEXT NOT NULL CHECK(length(id) > 0),
          quota TEXT NOT NULL CHECK(length(quota) > 0),
          meter TEXT NOT NULL CHECK(length(meter) > 0),
          units INTEGER NOT NULL CHECK(units > 0),
          priority INTEGER NOT NULL CHECK(priority BETWEEN 0 AND 255),
          effective INTEGER NOT NULL,
          expires INTEGER,
          note TEXT NOT NULL,
          created INTEGER NOT NULL,
          voided INTEGER,
          burnt INTEGER CHECK(burnt BETWEEN 0 AND units),
          PRIMARY KEY(organization, id)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX grants_created ON grants(organization, created, id);

        """
}
