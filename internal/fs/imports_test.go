package fs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	iofs "io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

// This package is the only door to files.
func TestNobodyElseTouchesFiles(t *testing.T) {
	found, err := forbiddenImports(os.DirFS("../.."))
	require.NoError(t, err)
	require.Empty(t, found, "go through internal/fs")
}

// programs are not part of the library: they may do as they like.
var programs = []string{"examples", "cmd", "bench", "torture", "internal/rig"}

// forbiddenImports lists what code of the module imports past this package, as
// "file: import".
func forbiddenImports(module iofs.FS) ([]string, error) {
	var found []string
	err := iofs.WalkDir(module, ".", func(name string, e iofs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && isExempt(name):
			return iofs.SkipDir
		case e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		imports, err := importsOf(module, name)
		for _, i := range imports {
			if isForbidden(name, i) {
				found = append(found, name+": "+i)
			}
		}
		return err
	})
	return found, err
}

func isExempt(dir string) bool {
	base := path.Base(dir)
	hidden := dir != "." && (base[0] == '.' || base[0] == '_')
	return dir == "internal/fs" || base == "testdata" || hidden || slices.Contains(programs, dir)
}

func importsOf(module iofs.FS, name string) ([]string, error) {
	src, err := iofs.ReadFile(module, name)
	if err != nil {
		return nil, err
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ImportsOnly)
	if err != nil {
		return nil, fmt.Errorf("parse %s: %w", name, err)
	}
	var imports []string
	for _, spec := range f.Imports {
		i, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		imports = append(imports, i)
	}
	return imports, nil
}

func isForbidden(file, imported string) bool {
	switch imported {
	case "os", "syscall", "io/ioutil":
		return true
	case "testing": // it adds flags to every program that has it
		return !strings.HasSuffix(path.Dir(file), "test")
	}
	// The clock asks the system how long the machine was suspended.
	return strings.HasPrefix(imported, "golang.org/x/sys/") && path.Dir(file) != "internal/clock"
}

// The library opens no port, starts no process and loads no code.
func TestNoPortsAndNoProcesses(t *testing.T) {
	module := os.DirFS("../..")
	err := iofs.WalkDir(module, ".", func(name string, e iofs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && isExempt(name) && name != "internal/fs":
			return iofs.SkipDir
		case e.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		imports, err := importsOf(module, name)
		for _, i := range imports {
			first, _, _ := strings.Cut(i, "/")
			require.False(t, first == "net" || first == "plugin" || i == "os/exec", "%s imports %s", name, i)
		}
		return err
	})
	require.NoError(t, err)
}

// rootless are the functions that may give paths to package os: those that
// work on the path of the directory itself, which the application chose.
var rootless = []string{"openRoot", "makeDir", "syncParent", "existing", "holds", "bootID"}

// Below the directory that was opened everything goes through os.Root.
func TestPathsGoThroughRoot(t *testing.T) {
	names, err := iofs.Glob(os.DirFS("."), "*.go")
	require.NoError(t, err)
	taking := []string{"Open", "OpenFile", "OpenRoot", "Create", "Mkdir", "MkdirAll", "Remove", "RemoveAll", "Rename", "Link", "Symlink",
		"Lstat", "Stat", "Readlink", "ReadFile", "WriteFile", "ReadDir", "Truncate", "Chmod", "Chtimes"}
	seen := 0
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			for _, used := range usesOfOS(f) {
				if slices.Contains(taking, used) {
					seen++
					require.Contains(t, rootless, f.Name.Name, "%s: %s uses os.%s", name, f.Name.Name, used)
				}
			}
		}
	}
	require.NotZero(t, seen)
}

// usesOfOS returns what a function uses of package os.
func usesOfOS(f *ast.FuncDecl) (all []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if p, ok := s.X.(*ast.Ident); ok && p.Name == "os" {
				all = append(all, s.Sel.Name)
			}
		}
		return true
	})
	return all
}

func TestForbiddenImports(t *testing.T) {
	file := func(imports string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("package p\n\nimport (\n" + imports + "\n)\n")}
	}
	found, err := forbiddenImports(fstest.MapFS{
		"good.go":                  file(`"io/fs"` + "\n" + `"path"`),
		"bad.go":                   file(`"fmt"` + "\n" + `"os"`),
		"bad_test.go":              file(`"os"`),
		"a/renamed.go":             file(`sneaky "os"`),
		"a/two.go":                 file(`"syscall"` + "\n" + `_ "io/ioutil"`),
		"a/examples/x.go":          file(`"os"`),
		"b/tagged_plan9.go":        file(`"golang.org/x/sys/plan9"`),
		"b/notes.txt":              file(`"os"`),
		"b/testdata/x.go":          file(`"os"`),
		"internal/clock/clock.go":  file(`"golang.org/x/sys/unix"`),
		"internal/clock/os.go":     file(`"os"`),
		"internal/fs/os.go":        file(`"os"`),
		"internal/fsck/os.go":      file(`"os"`),
		"core.go":                  file(`"testing"`),
		"coretest/core.go":         file(`"testing"`),
		"cmd/tool/main.go":         file(`"os"`),
		"examples/simple/main.go":  file(`"os"`),
		"bench/main.go":            file(`"os"`),
		"torture/main.go":          file(`"os"`),
		"internal/rig/main.go":     file(`"os"`),
		".git/x.go":                file(`"os"`),
		"internal/.hidden/deep.go": file(`"os"`),
	})
	require.NoError(t, err)
	require.Equal(t, []string{
		"a/examples/x.go: os",
		"a/renamed.go: os",
		"a/two.go: syscall",
		"a/two.go: io/ioutil",
		"b/tagged_plan9.go: golang.org/x/sys/plan9",
		"bad.go: os",
		"core.go: testing",
		"internal/clock/os.go: os",
		"internal/fsck/os.go: os",
	}, found)

	_, err = forbiddenImports(fstest.MapFS{"broken.go": {Data: []byte("packag")}})
	require.ErrorContains(t, err, "parse broken.go")
}
