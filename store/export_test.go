package store

import "github.com/stshost/stshost/internal/state"

// EventQuestion is the SQL that Events asks in SQLite.
func EventQuestion(q state.EventQuery) (query string, args []any) {
	return sqliteStatements().events.question(q)
}

// EventStatements are the others about events, which take two arguments.
func EventStatements() map[string]string {
	s := sqliteStatements()
	return map[string]string{"first since": s.firstEventAt, "newest": s.newestEvent, "old": s.oldEvents, "low": s.lowEvents}
}
