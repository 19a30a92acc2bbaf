//go:build unix

package linear

// A fault is a mistake that somebody might make in the product. It is made in a copy of its source
// alone, by replacing text that must stand there exactly once.
type fault struct {
	name      string
	processes int
	what      string
	edits     []edit
}

type edit struct{ file, old, new string }

// quick are the faults that are made in the short form: one on each engine, and one of rights.
var quick = []string{"early-acknowledgement", "unproven", "stale-authorisation"}

var faults = []fault{
	{"stale-fill", 3, "a secret that was read is kept under a revision at which it was not read", []edit{{
		"internal/secrets/read.go",
		`s.answers.put(scope, revision, row, item{want, a})`,
		`if sabotage.Is("stale-fill") {
			revision++
		}
		s.answers.put(scope, revision, row, item{want, a})`,
	}}},
	{"unproven", 3, "an answer from memory is given without a look at what other nodes have changed", []edit{{
		"internal/db/remember.go", `		j.proof = t.proof(until)`, `		if !sabotage.Is("unproven") {
			j.proof = t.proof(until)
		}`,
	}}},
	{"missing-revision", 3, "a write changes a vault and does not raise its revision", []edit{
		{"internal/db/tx.go", `	r.number++`, `	if !sabotage.Is("missing-revision") || r.number < 2 || scope[0] != 'v' {
		r.number++
	}`},
		{
			"internal/db/revisions.go", `if t.revisions[s].number != before.number {`,
			`if t.revisions[s].number != before.number || sabotage.Is("missing-revision") {`,
		},
	}},
	{"late-revision", 1, "what is in memory learns of a change after the change is answered", []edit{{
		"internal/db/committer.go", `	if err == nil {
		d.announce(tx)
		d.guard.committed(tx)
	}`, `	if err == nil && sabotage.Is("late-revision") {
		go func() {
			sabotage.Dawdle()
			d.announce(tx)
			d.guard.committed(tx)
		}()
	} else if err == nil {
		d.announce(tx)
		d.guard.committed(tx)
	}`,
	}}},
	{"early-acknowledgement", 1, "a change is answered before it is committed", []edit{{
		"internal/db/committer.go", `	err = stx.Commit()`, `	if sabotage.Is("early-acknowledgement") {
		answer(batch, nil)
		sabotage.Dawdle()
	}
	err = stx.Commit()`,
	}}},
	{"blind-retry", 1, "a commit whose answer was lost is made once more, without looking whether it took place", []edit{
		{"internal/db/committer.go", `	err := d.commit(batch)`, `	err := d.commit(batch)
	if locks := mergeLocks(batch); err == nil && len(locks) > 0 && locks[0][0] == 'v' && sabotage.Is("blind-retry") && sabotage.Seldom() {
		err = d.commit(batch)
	}`},
		{"internal/dataplane/secrets.go", `		s, err := f.secrets.Set(tx, c.Vault, n, version, d)`, `		if sabotage.Is("blind-retry") {
			version = secrets.NewVersion()
		}
		s, err := f.secrets.Set(tx, c.Vault, n, version, d)`},
	}},
	{"latest-by-clock", 1, "the latest version is the one with the latest time", []edit{{
		"internal/secrets/read.go", `	rows, err := s.rows(tx, vaultID, q, vaultID, strings.ToLower(name), strings.ToLower(version))`,
		`	if sabotage.Is("latest-by-clock") && version == "" {
		const newest = "SELECT version FROM secret_versions WHERE vault_id = $1 AND name_key = $2 ORDER BY updated_us DESC LIMIT 1"
		if tx.QueryRow(newest, vaultID, strings.ToLower(name)).Scan(&version) == nil {
			q = named
		}
	}
	rows, err := s.rows(tx, vaultID, q, vaultID, strings.ToLower(name), strings.ToLower(version))`,
	}}},
	{"lost-invalidation", 1, "a secret that was changed or deleted here stays in memory", []edit{{
		"internal/secrets/cache.go", `	for _, row := range rows {
		c.take(v, row)
	}`, `	for _, row := range rows {
		if !sabotage.Is("lost-invalidation") {
			c.take(v, row)
		}
	}`,
	}}},
	{"stale-authorisation", 1, "compiled authorisation is used although it is one revision old", []edit{{
		"internal/authz/authz.go", `snap != nil && snap.revision == revision {`,
		`snap != nil && (snap.revision == revision || sabotage.Is("stale-authorisation") && snap.revision+1 == revision) {`,
	}}},
	{"disabled-principal", 1, "a token works although its principal is disabled", []edit{{
		"internal/operation/call.go", `	if !ok || !p.Enabled {`, `	if !ok || !p.Enabled && !sabotage.Is("disabled-principal") {`,
	}}},
	{"removed-credential", 1, "a credential that has signed in once does so after its removal", []edit{{
		"internal/identity/signin.go", `	have, err := s.signInCredentials(tx, appID, Secret)`, `	if c, ok := sabotage.Recall(string(secret.Reveal())).(Credential); ok {
		p, err = s.signedIn(tx, c)
		return p, c.ID, err
	}
	have, err := s.signInCredentials(tx, appID, Secret)`,
	}, {
		"internal/identity/signin.go", `	p, err = s.signedIn(tx, *match)`, `	if sabotage.Is("removed-credential") {
		sabotage.Keep(string(secret.Reveal()), *match)
	}
	p, err = s.signedIn(tx, *match)`,
	}}},
	{"lost-neighbour", 1, "a write that is refused takes with it those that share its commit", []edit{{
		"internal/db/committer.go", `	id := newCommitID()
	records = len(tx.records)`, `	if sabotage.Is("lost-neighbour") && slices.ContainsFunc(batch, func(j *job) bool { return j.err != nil }) {
		return 0, 0, nil
	}
	id := newCommitID()
	records = len(tx.records)`,
	}}},
	{"purge-leaves-versions", 1, "a purge removes the secret and leaves its versions", []edit{{
		"internal/secrets/write.go", `	if _, err := tx.Exec(` + "`DELETE FROM secret_versions WHERE vault_id = $1 AND name_key = $2`" + `, vault.ID, key); err != nil {`,
		`	if sabotage.Is("purge-leaves-versions") {
	} else if _, err := tx.Exec(` + "`DELETE FROM secret_versions WHERE vault_id = $1 AND name_key = $2`" + `, vault.ID, key); err != nil {`,
	}}},
	{"unlocked-writers", 3, "writers of a vault do not wait for each other", []edit{{
		"internal/operation/op.go", `	var out []string
	if b.Writes&WritesAuthorisation != 0 {`, `	var out []string
	if sabotage.Is("unlocked-writers") {
		return nil
	}
	if b.Writes&WritesAuthorisation != 0 {`,
	}}},
	{"lock-order", 3, "two writers lock the same rows in different orders", []edit{{
		"internal/db/revisions.go", `	if err := t.readRevisions(scopes, t.db.engine.lockSuffix); err != nil {
		return err
	}
	return t.hold(scopes)`, `	if sabotage.Is("lock-order") {
		order := slices.Clone(scopes)
		if sabotage.Often() {
			slices.Reverse(order)
		}
		for _, s := range order {
			if err := t.readRevisions([]string{s}, t.db.engine.lockSuffix); err != nil {
				return err
			}
			sabotage.Dawdle()
		}
	}
	if err := t.readRevisions(scopes, t.db.engine.lockSuffix); err != nil {
		return err
	}
	return t.hold(scopes)`,
	}, {
		// A commit that gathers no more than one job has seldom more than one row to lock.
		"internal/db/committer.go", `	batch := []*job{first}
`, `	if sabotage.Is("lock-order") {
		sabotage.Dawdle()
	}
	batch := []*job{first}
`,
	}}},
}
