package store

const eventColumns = `
			SELECT id, at, kind, severity, domain, host, text, remedy, evidence FROM events `

const certJobColumns = `
			SELECT host, due, not_after, attempts, challenge, problem, last_attempt, running,
			       ca, ask_at, window_start, window_end, explanation
			FROM cert_jobs `

// sqliteStatements is the SQL for SQLite 3.35 and later.
func sqliteStatements() *statements {
	return &statements{
		domains: `
			SELECT name, step, since, mode, max_age, config_max_age, adopted, body_sha256, record_id, former_id,
			       proof, last_error, remedy, attempts, last_run, next_run
			FROM domains ORDER BY name`,
		domain: `
			SELECT name, step, since, mode, max_age, config_max_age, adopted, body_sha256, record_id, former_id,
			       proof, last_error, remedy, attempts, last_run, next_run
			FROM domains WHERE name = ?`,
		saveDomain: `
			INSERT INTO domains (name, step, since, mode, max_age, config_max_age, adopted, body_sha256, record_id, former_id,
			                     proof, last_error, remedy, attempts, last_run, next_run)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (name) DO UPDATE SET
				step = excluded.step, since = excluded.since, mode = excluded.mode, max_age = excluded.max_age,
				config_max_age = excluded.config_max_age, adopted = excluded.adopted,
				body_sha256 = excluded.body_sha256, record_id = excluded.record_id,
				former_id = excluded.former_id, proof = excluded.proof,
				last_error = excluded.last_error, remedy = excluded.remedy, attempts = excluded.attempts,
				last_run = excluded.last_run, next_run = excluded.next_run`,
		removeDomain: `DELETE FROM domains WHERE name = ?`,

		bodies: `
			SELECT domain, sha256, mode, max_age, first_served, last_served, adopted, body
			FROM bodies WHERE domain = ?
			ORDER BY last_served = 0 DESC, last_served DESC, first_served DESC`,
		served: `
			SELECT domain, sha256, mode, max_age, first_served, last_served, adopted, body
			FROM bodies WHERE last_served = 0 ORDER BY domain`,
		// A clock that was set back must not make a body end before it began.
		closeOther: `
			UPDATE bodies SET last_served = max(first_served, ?)
			WHERE domain = ? AND last_served = 0 AND sha256 <> ?`,
		openBody: `
			INSERT INTO bodies (domain, sha256, mode, max_age, first_served, last_served, adopted, body)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (domain, sha256) DO UPDATE SET last_served = 0`,
		addBody: `
			INSERT INTO bodies (domain, sha256, mode, max_age, first_served, last_served, adopted, body)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (domain, sha256) DO UPDATE SET
				first_served = min(bodies.first_served, excluded.first_served),
				last_served = CASE bodies.last_served WHEN 0 THEN 0 ELSE max(bodies.last_served, excluded.last_served) END`,
		closeBody: `UPDATE bodies SET last_served = max(first_served, ?) WHERE domain = ? AND last_served = 0`,

		acmeData: `SELECT data FROM acme_data WHERE name = ?`,
		putACMEData: `
			INSERT INTO acme_data (name, data) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET data = excluded.data`,
		deleteACMEData: `DELETE FROM acme_data WHERE name = ?`,
		certificate:    `SELECT pem, not_before, not_after FROM certificates WHERE host = ?`,
		saveCertificate: `
			INSERT INTO certificates (host, not_before, not_after, pem) VALUES (?, ?, ?, ?)
			ON CONFLICT (host) DO UPDATE SET
				not_before = excluded.not_before, not_after = excluded.not_after, pem = excluded.pem`,
		removeCertificate: `DELETE FROM certificates WHERE host = ?`,

		certJob:  certJobColumns + `WHERE host = ?`,
		certJobs: certJobColumns + `ORDER BY host`,
		// The hosts are chosen and put in order from the index cert_jobs_due
		// alone, and only then are their rows read: after a long absence
		// 100,000 jobs may be due, of which a few are wanted.
		dueCertJobs: `
			SELECT j.host, j.due, j.not_after, j.attempts, j.challenge, j.problem, j.last_attempt, j.running,
			       j.ca, j.ask_at, j.window_start, j.window_end, j.explanation
			FROM (SELECT host FROM cert_jobs WHERE running = 0 AND due <= ?
			      ORDER BY not_after = 0 AND attempts > 0, not_after, due, host LIMIT ?) AS chosen
			JOIN cert_jobs AS j ON j.host = chosen.host
			ORDER BY j.not_after = 0 AND j.attempts > 0, j.not_after, j.due, j.host`,
		dueSuggested: certJobColumns + `WHERE ca = ? AND due <= ? AND running = 0 AND window_end > 0
			ORDER BY not_after, due, host LIMIT ?`,
		dueExpiring: certJobColumns + `WHERE running = 0 AND due <= ? AND not_after > 0 AND not_after < ?
			ORDER BY not_after, due, host LIMIT ?`,
		askCertJobs: certJobColumns + `WHERE running = 0 AND not_after > 0 AND ask_at <= ?
			ORDER BY ask_at, host LIMIT ?`,
		countCertJobs: `
			SELECT count(*) FILTER (WHERE running = 0 AND due <= ?),
			       count(*) FILTER (WHERE running = 0 AND due > ? AND (attempts > 0 OR problem <> '')),
			       count(*) FILTER (WHERE running = 0 AND due > ? AND attempts = 0 AND problem = ''),
			       count(*) FILTER (WHERE running <> 0)
			FROM cert_jobs`,
		putCertJob: `
			INSERT INTO cert_jobs (host, due, not_after, attempts, challenge, problem, last_attempt, running,
			                       ca, ask_at, window_start, window_end, explanation)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (host) DO UPDATE SET
				due = excluded.due, not_after = excluded.not_after, attempts = excluded.attempts,
				challenge = excluded.challenge, problem = excluded.problem,
				last_attempt = excluded.last_attempt, running = excluded.running,
				ca = excluded.ca, ask_at = excluded.ask_at, window_start = excluded.window_start,
				window_end = excluded.window_end, explanation = excluded.explanation`,
		deleteCertJob: `DELETE FROM cert_jobs WHERE host = ?`,

		pruneOrders: `DELETE FROM orders WHERE account = ? AND at <= ?`,
		clampOrders: `UPDATE orders SET at = ? WHERE account = ? AND at > ?`,
		countOrders: `SELECT count(*) FROM orders WHERE account = ?`,
		nthOrder:    `SELECT at FROM orders WHERE account = ? ORDER BY at LIMIT 1 OFFSET ?`,
		addOrder:    `INSERT INTO orders (account, at) VALUES (?, ?)`,
		ordersSince: `SELECT count(*) FROM orders WHERE account = ? AND at > ?`,

		mxChecks: `
			SELECT domain, at, passed, unknown, summary, attempts, severity, reason, remedy, faults,
			       told_kind, told_at, told_severity, told_reason, told_held, hosts, drift
			FROM mx_checks ORDER BY domain`,
		saveMXCheck: `
			INSERT INTO mx_checks (domain, at, passed, unknown, summary, attempts, severity, reason, remedy, faults,
			                       told_kind, told_at, told_severity, told_reason, told_held, hosts, drift)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (domain) DO UPDATE SET
				at = excluded.at, passed = excluded.passed, unknown = excluded.unknown, summary = excluded.summary,
				attempts = excluded.attempts, severity = excluded.severity, reason = excluded.reason,
				remedy = excluded.remedy, faults = excluded.faults, told_kind = excluded.told_kind,
				told_at = excluded.told_at, told_severity = excluded.told_severity,
				told_reason = excluded.told_reason, told_held = excluded.told_held,
				hosts = excluded.hosts, drift = excluded.drift`,
		removeMXCheck: `DELETE FROM mx_checks WHERE domain = ?`,

		rollouts: `
			SELECT domain, stage, max_age, entered, confirmed, goal, paused, hasty, no_reports, waivers, evidence, mx,
			       left_config, target_account, target_zone, target_name, target_ttl, back, held
			FROM rollouts ORDER BY domain`,
		saveRollout: `
			INSERT INTO rollouts (domain, stage, max_age, entered, confirmed, goal, paused, hasty, no_reports, waivers, evidence, mx,
			                      left_config, target_account, target_zone, target_name, target_ttl, back, held)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (domain) DO UPDATE SET
				stage = excluded.stage, max_age = excluded.max_age, entered = excluded.entered,
				confirmed = excluded.confirmed, goal = excluded.goal, paused = excluded.paused,
				hasty = excluded.hasty, no_reports = excluded.no_reports, waivers = excluded.waivers,
				evidence = excluded.evidence, mx = excluded.mx, left_config = excluded.left_config,
				target_account = excluded.target_account, target_zone = excluded.target_zone,
				target_name = excluded.target_name, target_ttl = excluded.target_ttl,
				back = excluded.back, held = excluded.held`,
		removeRollout: `DELETE FROM rollouts WHERE domain = ?`,

		addEvent: `
			INSERT INTO events (at, kind, severity, domain, host, text, remedy, evidence)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		// The way is given and not left to the planner, who knows nothing of
		// how many events a domain has: a wrong guess reads millions of rows.
		// Each index has the id behind its columns, which gives the order.
		events: eventStatements{
			all:      eventColumns + `NOT INDEXED WHERE id > ?`,
			byDomain: eventColumns + `INDEXED BY events_domain WHERE domain = ? AND id > ?`,
			byHost:   eventColumns + `INDEXED BY events_host WHERE host <> '' AND host = ? AND id > ?`,
			byKind:   eventColumns + `INDEXED BY events_kind WHERE kind = ? AND id > ?`,
			notable:  eventColumns + `INDEXED BY events_notable WHERE severity > 1 AND id > ?`,
			domain:   ` AND domain = ?`,
			host:     ` AND host = ?`,
			kind:     ` AND kind = ?`,
			severity: ` AND severity >= ?`,
			since:    ` AND at >= ?`,
			oldest:   ` ORDER BY id LIMIT ?`,
			newest:   ` ORDER BY id DESC LIMIT ?`,
		},
		firstEventAt: `SELECT coalesce(min(id), 0) FROM events INDEXED BY events_at WHERE at >= ?`,
		newestEvent:  `SELECT coalesce(max(id), 0) FROM events`,
		oldEvents: `
			DELETE FROM events WHERE id IN
				(SELECT id FROM events INDEXED BY events_at WHERE at < ? ORDER BY at LIMIT ?)`,
		lowEvents: `DELETE FROM events WHERE id IN (SELECT id FROM events NOT INDEXED WHERE id <= ? ORDER BY id LIMIT ?)`,

		countDomains:      `SELECT count(*), coalesce(max(last_run), 0) FROM domains`,
		countCertificates: `SELECT count(*) FROM certificates`,
		makeDue:           `UPDATE domains SET next_run = 0 WHERE next_run <> 0`,

		validities:    `SELECT host, not_before, not_after FROM certificates INDEXED BY certificates_validity`,
		troubledHosts: `SELECT host FROM cert_jobs INDEXED BY cert_jobs_problem WHERE problem <> ''`,

		notifyState: `SELECT data FROM notify_state WHERE target = ?`,
		putNotifyState: `
			INSERT INTO notify_state (target, data) VALUES (?, ?)
			ON CONFLICT (target) DO UPDATE SET data = excluded.data`,

		secret:    `SELECT value FROM secrets WHERE name = ?`,
		addSecret: `INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING`,
	}
}
