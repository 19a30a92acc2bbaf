package main

import "context"

// A testCase is one judgement. It returns an error where it could not go on, and notes what it
// found wrong.
type testCase struct {
	name string
	only string // the only sign-in it is about; "" for all
	run  func(context.Context, *suite, *findings) error
}

// cases run in this order: the lists first, in a vault that is still empty.
var cases = []testCase{
	{name: "list secrets", run: listSecrets},
	{name: "list deleted secrets", run: listDeleted},
	{name: "list versions", run: listVersions},
	{name: "set and get", run: setAndGet},
	{name: "update properties", run: updateProperties},
	{name: "values", run: values},
	{name: "enabled and dates", run: validity},
	{name: "set at once", run: setAtOnce},
	{name: "delete and recover", run: deleteAndRecover},
	{name: "purge", run: purge},
	{name: "backup and restore", run: backupAndRestore},
	{name: "missing", run: missing},
	{name: "bad input", run: badInput},
	{name: "no rights", run: noRights},
	{name: "headers", run: headers},
	{name: "wrong client secret", run: wrongSecret},
	{name: "identity by id", only: "managed", run: identityByID},
}
