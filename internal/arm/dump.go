package arm

import (
	"context"

	"strongroom/internal/operation"
)

const dumpName = "Dump"

// declareDump: a dump is the owner's of this machine alone, who could copy the database as well. It
// has no action, so that no role gives it away.
func (f *Face) declareDump(t *operation.Table) {
	operation.Handle(t, operation.Op{
		Name: dumpName, Method: "POST", Path: "/dump", Access: operation.Local,
		Summary: "Dump everything that is stored, as one consistent state (docs/formats.md); strongroom dump encrypts it.",
	}, f.takeDump)
}

func (f *Face) takeDump(context.Context, *operation.Call, operation.None) (operation.Stream, error) {
	return operation.Stream{ContentType: "application/vnd.strongroom.dump", Write: f.dump}, nil
}
