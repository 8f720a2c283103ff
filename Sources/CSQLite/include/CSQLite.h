// SQLite as it is, and one macro that Swift does not see.
#ifndef TOLLGATE_CSQLITE_H
#define TOLLGATE_CSQLITE_H
#include <sqlite3.h>

/// SQLITE_TRANSIENT: the bytes are copied while they are bound.
static inline int tg_bind_text(sqlite3_stmt *statement, int index, const char *text, int bytes) {
    return sqlite3_bind_text(statement, index, text, bytes, SQLITE_TRANSIENT);
}
static inline int tg_bind_blob(sqlite3_stmt *statement, int index, const void *bytes, int count) {
    return sqlite3_bind_blob(statement, index, bytes, count, SQLITE_TRANSIENT);
}
#endif
