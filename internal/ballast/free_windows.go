package ballast

import (
	"io/fs"

	"golang.org/x/sys/windows"
)

// Free is how many bytes this user can still write on the disk of a folder.
func Free(folder string) (int64, error) {
	name, err := windows.UTF16PtrFromString(folder)
	if err != nil {
		return 0, err
	}
	var free uint64
	err = windows.GetDiskFreeSpaceEx(name, &free, nil, nil)
	return int64(free), err
}

func allocated(info fs.FileInfo) int64 { return info.Size() }
