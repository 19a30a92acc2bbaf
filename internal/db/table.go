package db

import (
	"errors"
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"strongroom/internal/envelope"
)

// A Table is a table of sealed rows: each row carries a MAC over all its columns, in the order
// given here, and most are members of a set whose digest stands with the set's revision. Rows are
// written by Tx.Put and Tx.Remove alone, so that row, MAC and digest change together.
type Table struct {
	name    string
	columns []string // all but row_mac
	key     []int    // of the columns: the primary key
	set     string   // Authorisation, Directory or Segments; "" for a vault's, or for none
	vault   int      // of the columns: the vault id, where each vault has a set of its own; else -1
	part    int      // of the columns: the part of the set's digest; else -1
	located []int    // of the columns: those that say which row it is, and in which set

	insert, replace string
}

// The sealed tables. Rows of SecretVersions are in no set: the head of their secret vouches for
// them.
var (
	Applications    = newTable("applications", Authorisation, "application_id", "tenant_id application_id app_id display_name created_us")
	Principals      = newTable("principals", Authorisation, "object_id", "tenant_id object_id kind app_id display_name enabled resource_id location tags created_us")
	GroupMembers    = newTable("group_members", Authorisation, "group_id member_id", "tenant_id group_id member_id created_us")
	Credentials     = newTable("credentials", Authorisation, "credential_id", "tenant_id credential_id app_id kind display_name hint secret_hmac certificate thumbprint_sha1 thumbprint_sha256 not_before_us expires_us created_us")
	RoleAssignments = newTable("role_assignments", Authorisation, "tenant_id scope_key assignment_id", "tenant_id assignment_id scope_key scope role_definition_id principal_id principal_type description created_by created_us updated_by updated_us")

	ResourceGroups = newTable("resource_groups", Directory, "tenant_id subscription_id name_key", "tenant_id subscription_id name_key name location tags created_us updated_us")
	Vaults         = newTable("vaults", Directory, "vault_id", "tenant_id vault_id subscription_id group_key group_name name_key name location sku rbac retention_days purge_protection properties tags created_by created_us updated_by updated_us deleted_us purge_us data_key_sealed")
	SigningKeys    = newTable("signing_keys", Directory, "tenant_id key_id", "tenant_id key_id certificate private_sealed created_us active_us retire_us")

	Settings = newTable("settings", Directory, "name", "tenant_id name value")

	AuditSegments = newTable("audit_segments", Segments, "first_position", "tenant_id first_position last_position file node digest closed_us")

	Secrets        = newTable("secrets", "", "vault_id name_key", "tenant_id vault_id name_key part name newest newest_mac versions_sealed generation created_us deleted_us purge_us")
	SecretVersions = newTable("secret_versions", "", "vault_id name_key ordinal", "tenant_id vault_id name_key version ordinal enabled not_before_us expires_us created_us updated_us content_type tags value_sealed")
)

// sealedTables lists the tables whose rows are in sets.
var sealedTables = []*Table{
	Applications, Principals, GroupMembers, Credentials, RoleAssignments, ResourceGroups, Vaults, SigningKeys, Settings, AuditSegments, Secrets,
}

func newTable(name, set, key, columns string) *Table {
	t := &Table{name: name, set: set, columns: strings.Fields(columns)}
	t.vault, t.part = -1, slices.Index(t.columns, "part")
	if t.part >= 0 {
		t.vault = slices.Index(t.columns, "vault_id")
	}
	for _, column := range strings.Fields(key) {
		t.key = append(t.key, slices.Index(t.columns, column))
	}
	t.located = slices.Clone(t.key)
	if t.part >= 0 {
		t.located = append(t.located, t.part) // the vault is part of the key
	}
	var places, sets, where []string
	for i, column := range t.columns {
		place := "$" + strconv.Itoa(i+1)
		places = append(places, place)
		if slices.Contains(t.key, i) {
			where = append(where, column+" = "+place)
		} else {
			sets = append(sets, column+" = "+place)
		}
	}
	n := len(t.columns)
	all := strings.Join(t.columns, ", ") + ", row_mac"
	t.insert = fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s, $%d)", name, all, strings.Join(places, ", "), n+1)
	t.replace = fmt.Sprintf("UPDATE %s SET %s, row_mac = $%d WHERE %s AND row_mac = $%d",
		name, strings.Join(sets, ", "), n+1, strings.Join(where, " AND "), n+2)
	return t
}

// Name is the table's name.
func (t *Table) Name() string { return t.name }

// Columns are the table's columns for a SELECT, the row's MAC last; prefix is "" or an alias with
// its dot.
func (t *Table) Columns(prefix string) string {
	return prefix + strings.Join(t.columns, ", "+prefix) + ", " + prefix + "row_mac"
}

// Part is the part of a vault's digest that an object of this name is in. It is stored with the
// row, so that a part can be found by an index.
func Part(nameKey string) int64 {
	h := fnv.New32a()
	h.Write([]byte(nameKey))
	return int64(h.Sum32() % VaultParts)
}

// VaultParts is how many parts the digest of a vault has: to check one row all rows of its part
// have to be summed up once, and each write stores the whole digest.
const VaultParts = 32

// setOf names the set that a row is in and the part of its digest; "" where there is none.
func (t *Table) setOf(fields []any) (set string, part int) {
	if t.part < 0 {
		return t.set, 0
	}
	p, _ := fields[t.part].(int64)
	return VaultRevision(fields[t.vault].(string)), int(p)
}

// keySeed makes the keys of rows ones that nobody outside can make collide.
var keySeed = maphash.MakeSeed()

// Key is a row's primary key within its set, the table's name included. It is good within this
// process alone.
func (t *Table) Key(primary ...any) uint64 {
	var h maphash.Hash
	h.SetSeed(keySeed)
	h.WriteString(t.name)
	for _, v := range primary {
		h.WriteByte(0)
		switch v := v.(type) {
		case string:
			h.WriteString(v)
		default:
			fmt.Fprint(&h, v)
		}
	}
	return h.Sum64()
}

func (t *Table) rowKey(fields []any) uint64 { return t.Key(t.keyOf(fields)...) }

// rowID spells a row's primary key out, the table's name included.
func (t *Table) rowID(fields []any) []byte {
	id := append(make([]byte, 0, 128), t.name...)
	for _, i := range t.key {
		id = append(id, 0)
		switch v := fields[i].(type) {
		case string:
			id = append(id, v...)
		case int64:
			id = strconv.AppendInt(id, v, 10)
		default:
			id = fmt.Append(id, v)
		}
	}
	return id
}

// Put stores a sealed row and returns its MAC: a new row where old is nil, else in the place of
// the row whose MAC is old. The fields are those of the table's columns. A new row whose key is
// taken is refused (IsUnique).
func (t *Tx) Put(table *Table, old []byte, fields ...any) (mac []byte, err error) {
	mac = t.db.ring.RowMAC(table.name, fields...)
	args := append(slices.Clone(fields), mac)
	q := table.insert
	if old != nil {
		q, args = table.replace, append(args, old)
	}
	set, part := table.setOf(fields)
	if old != nil && set != "" {
		if err := t.isMember(set, part, table.rowKey(fields), old, table.name); err != nil {
			return nil, err
		}
	}
	n, err := t.Exec(q, args...)
	if err != nil {
		return nil, fmt.Errorf("store a row of %s: %w", table.name, err)
	}
	if n != 1 {
		return nil, fmt.Errorf("store a row of %s: the row to replace is not there", table.name)
	}
	if set != "" {
		err = t.change(set, change{part: part, key: table.rowKey(fields), id: table.rowID(fields), gone: old, come: mac})
	}
	return mac, err
}

// Remove deletes the rows of a sealed table that a condition names, and says how many. A row that is
// not as we left it is not removed: something else would leave the set in its place.
func (t *Tx) Remove(table *Table, where string, args ...any) (int, error) {
	rows, err := t.locate(table, where, args)
	if err != nil {
		return 0, fmt.Errorf("delete from %s: %w", table.name, err)
	}
	for _, r := range rows { // while they are there: a part may have to be summed up from its rows
		if set, part := table.setOf(r.Fields); set != "" {
			if err := t.isMember(set, part, table.rowKey(r.Fields), r.MAC, table.name); err != nil {
				return 0, err
			}
		}
	}
	n, err := t.Exec(`DELETE FROM `+table.name+` WHERE `+where, args...)
	if err == nil && int(n) != len(rows) {
		err = errMoved
	}
	if err != nil {
		return 0, fmt.Errorf("delete from %s: %w", table.name, err)
	}
	for _, r := range rows {
		if set, part := table.setOf(r.Fields); set != "" {
			if err := t.change(set, change{part: part, key: table.rowKey(r.Fields), id: table.rowID(r.Fields), gone: r.MAC}); err != nil {
				return 0, err
			}
		}
	}
	return len(rows), nil
}

// locate reads of rows what says which they are: other fields are nil.
func (t *Tx) locate(table *Table, where string, args []any) (rows []Seal, err error) {
	var names []string
	for _, i := range table.located {
		names = append(names, table.columns[i])
	}
	// The condition is a constant of the caller's; the columns are the table's.
	q := `SELECT ` + strings.Join(append(names, "row_mac"), ", ") + ` FROM ` + table.name + ` WHERE ` + where
	err = t.Query(func(row Scanner) error {
		r := Seal{Fields: make([]any, len(table.columns))}
		var to []any
		for _, i := range table.located {
			to = append(to, &r.Fields[i])
		}
		err := row.Scan(append(to, &r.MAC)...)
		rows = append(rows, r)
		return err
	}, q, args...)
	return rows, err
}

// Check says whether a row that was read is ours and as we left it: its MAC holds, and the row is
// a member of its set. The fields are those of the table's columns. It may read the set: never
// call it while rows of a query are open.
func (t *Tx) Check(table *Table, mac []byte, fields ...any) error {
	if err := t.db.ring.CheckRow(mac, table.name, fields...); err != nil {
		return err
	}
	set, part := table.setOf(fields)
	if set == "" {
		return nil
	}
	return t.isMember(set, part, table.rowKey(fields), mac, table.name)
}

// Replace stores a sealed row in the place of the one with the same key, or anew.
func (t *Tx) Replace(table *Table, fields ...any) error {
	var where []string
	var args []any
	for n, i := range table.key {
		where, args = append(where, table.columns[i]+" = $"+strconv.Itoa(n+1)), append(args, fields[i])
	}
	var old []byte
	q := `SELECT row_mac FROM ` + table.name + ` WHERE ` + strings.Join(where, " AND ")
	if err := t.QueryRow(q, args...).Scan(&old); err != nil && !errors.Is(err, ErrNoRows) {
		return fmt.Errorf("find a row of %s: %w", table.name, err)
	}
	_, err := t.Put(table, old, fields...)
	return err
}

// A Seal is what proves a row that was scanned: its columns, and its MAC.
type Seal struct {
	Fields []any
	MAC    []byte
}

// ReadRows runs a query of a sealed table and returns what scan makes of each row, when all of
// them are proven; never nil without an error.
func ReadRows[T any](tx *Tx, table *Table, scan func(Scanner) (T, Seal, error), q string, args ...any) ([]T, error) {
	out, seals := []T{}, []Seal(nil)
	err := tx.Query(func(row Scanner) error {
		v, seal, err := scan(row)
		out, seals = append(out, v), append(seals, seal)
		return err
	}, q, args...)
	for i := 0; err == nil && i < len(seals); i++ {
		if err = tx.Check(table, seals[i].MAC, seals[i].Fields...); err != nil {
			err = fmt.Errorf("%v: %w", table.keyOf(seals[i].Fields), err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table.name, err)
	}
	return out, nil
}

// ReadRow is ReadRows for a query of at most one row.
func ReadRow[T any](tx *Tx, table *Table, scan func(Scanner) (T, Seal, error), q string, args ...any) (v T, found bool, err error) {
	all, err := ReadRows(tx, table, scan, q, args...)
	if err != nil || len(all) == 0 {
		return v, false, err
	}
	return all[0], true, nil
}

// NotAsked is the fault of a database that answers with another row than it was asked for, which is
// true in itself.
func (t *Table) NotAsked(asked string) error {
	return fmt.Errorf("%s: the database answered with another row than %q: %w", t.name, asked, envelope.ErrTampered)
}

// keyOf is a row's primary key, for messages.
func (t *Table) keyOf(fields []any) []any {
	key := make([]any, len(t.key))
	for n, i := range t.key {
		key[n] = fields[i]
	}
	return key
}
