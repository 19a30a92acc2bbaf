package envelope

import "os"

// sameOwner has nothing to do: who may read a file is inherited from its folder.
func sameOwner(*os.File, string) error { return nil }
