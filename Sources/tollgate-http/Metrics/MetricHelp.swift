/// What each metric says of itself. Without unit suffix rules or lists of labels: Prometheus shows
/// it beside the name.
enum MetricHelp {
    /// Of a family, by its name without `_total` and `_info`.
    static func text(of family: String) -> String { texts[family] ?? other }

    /// Of what a later daemon counts and this exporter does not know.
    static let other = "Said by the daemon; not known to this version of tollgate-http."

    private static let texts: [String: String] = [
        "tollgate_up": "Whether the daemon answered this scrape: 1, or 0.",
        "tollgate_decisions": "Decisions, by verdict and reason (none where it was allowed).",
        "tollgate_operation_decisions":
            "CHECK, RESERVE and CONSUME by operation, where that is known, and verdict.",
        "tollgate_refused_frames": "Requests that were no good, or not allowed, by status.",
        "tollgate_frames": "Requests taken.",
        "tollgate_received_bytes": "Bytes that clients sent.",
        "tollgate_sent_bytes": "Bytes sent to clients.",
        "tollgate_connections_accepted": "Connections accepted.",
        "tollgate_connections_refused": "Connections beyond a ceiling.",
        "tollgate_deadline_closes": "Connections closed because their peer was too slow.",
        "tollgate_buffer_closes": "Connections closed because nobody read their replies.",
        "tollgate_connections": "Connections open now.",
        "tollgate_organizations": "Organizations that have counters.",
        "tollgate_users": "Users who have counters.",
        "tollgate_addresses": "Addresses that have counters.",
        "tollgate_tables_bytes": "Memory taken by tables of counters.",
        "tollgate_capacity_refusals":
            "Requests refused because a table of callers was at its ceiling.",
        "tollgate_would_deny":
            "What was allowed though a limit or a permission in shadow would have refused it.",
        "tollgate_address_overflows":
            "Requests whose address shares limits because the table of addresses is full.",
        "tollgate_clock_held_forward":
            "1 while the wall clock is ahead and not believed: tollgate reload confirms it.",
        "tollgate_directory_organizations": "Organizations in the directory.",
        "tollgate_directory_users": "Users in the directory.",
        "tollgate_directory_keys": "API keys in the directory.",
        "tollgate_directory_revocations": "Revocations that still matter.",
        "tollgate_directory_image_bytes": "Memory taken by the directory.",
        "tollgate_directory_commits": "Changes of the directory written to its disk.",
        "tollgate_refresh_reuse": "Refresh tokens used again after their successor.",
        "tollgate_sessions_displaced": "Sessions ended because their user began too many.",
        "tollgate_calls": "Calls about accounts, usage and alerts, by status.",
        "tollgate_ledger_state": "1 for the state that the ledger is in.",
        "tollgate_ledger_trouble": "1 while the ledger's disk is in trouble.",
        "tollgate_journal_slots": "Slots of 32 bytes appended to the journal.",
        "tollgate_journal_synced_slots": "Slots of the journal known to be on the disk.",
        "tollgate_journal_lag_seconds": "Age of the oldest change that no sync has covered.",
        "tollgate_journal_bytes": "Bytes of the journal's files.",
        "tollgate_journal_files": "Files of the journal.",
        "tollgate_journal_syncs": "Syncs of the ledger's files.",
        "tollgate_journal_sync_failures": "Syncs of the ledger's files that failed.",
        "tollgate_snapshots": "Snapshots written.",
        "tollgate_snapshot_failures": "Snapshots that could not be written.",
        "tollgate_snapshot_age_seconds": "Age of the newest snapshot.",
        "tollgate_snapshot_bytes": "Bytes of the newest snapshot.",
        "tollgate_closed_periods_waiting": "Closed periods not yet in the archive.",
        "tollgate_closed_periods_archived": "Closed periods put into the archive.",
        "tollgate_reservations": "Reservations open, or ended and remembered.",
        "tollgate_idempotency_records": "Answers remembered for requests sent again.",
        "tollgate_audit": "Where the audit log is, and what it does when it has no room.",
        "tollgate_audit_recorded": "Records written to the audit log.",
        "tollgate_audit_dropped": "Records left out of the audit log.",
        "tollgate_audit_refused": "Requests refused, and not recorded, for want of room there.",
        "tollgate_audit_waiting_bytes": "Bytes of records not yet in a file of the audit log.",
        "tollgate_audit_ring_bytes": "Size of each thread's ring for records.",
        "tollgate_audit_segments": "Files of the audit log.",
        "tollgate_audit_bytes": "Bytes of the audit log.",
        "tollgate_audit_unproven": "1 where the log that was found at the start was not proven.",
        "tollgate_audit_trouble": "1 while the audit log's disk is in trouble.",
        "tollgate_alerts_fired": "Alerts fired.",
        "tollgate_alerts_silenced": "Alerts fired and held by a silence.",
        "tollgate_alerts_tests": "Alerts fired as a test.",
        "tollgate_alerts_suppressed": "Alerts beyond a rule's most in an hour.",
        "tollgate_alerts_evicted": "Subjects that alert rules forgot for want of room.",
        "tollgate_alerts_write_failures": "Times that alerts could not be written to the disk.",
        "tollgate_alerts_lost": "Alerts told to nobody, as the disk took none for too long.",
        "tollgate_alerts_waiting": "Alerts that fired and are not told yet.",
        "tollgate_alerts_spool_waiting": "Alerts that wait to be delivered to sinks.",
        "tollgate_alerts_spool_full": "1 while alerts find no room to wait for delivery.",
        "tollgate_alerts_spool_dropped": "Alerts that found no room to wait for delivery.",
        "tollgate_alerts_failing": "1 while the disk takes no alerts.",
        "tollgate_stats_left_out": "Numbers of the daemon's that found no room in its reply.",
        "tollgate_frame_duration_seconds":
            "Time from reading requests to handing on their replies.",
        "tollgate_policy_generation": "Generation of the policy in force.",
        "tollgate_policy_read_timestamp_seconds":
            "When the policy in force was read, in seconds since 1970.",
        "tollgate_policy_reloads": "Reloads of the policy, by what came of them.",
        "tollgate_policy_in_shadow": "1 while no limit and no permission refuses.",
        "tollgate_policy_limits_in_shadow": "Limits that are evaluated and refuse nobody.",
        "tollgate_organizations_counted":
            "1 while decisions are counted by organization, which wants an audit log.",
        "tollgate_organization_decisions":
            "CHECK, RESERVE and CONSUME of the busiest organizations, by verdict.",
        "tollgate_organization_quota_used_ratio":
            "Part of a quota taken, held units too, of the organizations nearest to an end; with "
            + "scope user, of the user of theirs who is nearest.",
        "tollgate_start_timestamp_seconds":
            "When the daemon was started, in seconds since 1970, by the clock of then.",
        "tollgate_uptime_seconds": "Seconds since the daemon was started.",
        "tollgate_cpu_seconds": "Processor time taken by the daemon.",
        "tollgate_resident_memory_bytes": "Memory of the daemon's process.",
        "tollgate_build": "Version of the daemon.",
        "tollgate_http_build": "Version of tollgate-http.",
        "tollgate_http_connections": "Connections to tollgate-http open now.",
        "tollgate_http_requests": "Requests that tollgate-http answered, by code.",
        "tollgate_http_displaced_connections":
            "Waiting connections closed to make room for new ones.",
        "tollgate_http_refused_connections":
            "New connections closed because every other was being answered.",
        "tollgate_http_timeouts": "Connections closed because their peer was too slow.",
        "tollgate_http_stats_duration_seconds": "How long the daemon took to answer STATS.",
        "tollgate_http_skipped_statistics":
            "Numbers of this STATS reply that are not passed on.",
    ]
}
