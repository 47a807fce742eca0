package planted

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../.."

// Every bug has a place in the code as it is, and says what finds it.
func TestBugsHaveTheirPlace(t *testing.T) {
	names := map[string]bool{}
	late := 0
	for _, b := range Bugs {
		require.False(t, names[b.Name], b.Name)
		names[b.Name] = true
		source, err := os.ReadFile(filepath.Join(root, b.File))
		require.NoError(t, err)
		spoiled, err := b.apply(source)
		require.NoError(t, err, b.Name)
		require.NotEqual(t, source, spoiled, b.Name)
		require.NotEmpty(t, b.Tests, b.Name)
		if b.Shows == Crash || b.Shows == Failure || b.Shows == Schedule {
			late++
		}
	}
	require.GreaterOrEqual(t, len(Bugs), 30)
	require.GreaterOrEqual(t, late, 15)
}

// docs/TRUST.md names every bug and the test that finds it, and no test that
// there is not.
func TestTrustNamesWhatThereIs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs", "TRUST.md"))
	require.NoError(t, err)
	text := string(page)
	for _, b := range Bugs {
		row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(b.Name) + ` \| ` + string(b.Shows) + ` \| ` + regexp.QuoteMeta(b.File) + " \\| `(\\w+)` ").FindStringSubmatch(text)
		require.NotNil(t, row, b.Name)
		require.Regexp(t, b.Tests, row[1])
	}
	there := testsOf(t)
	for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(text, -1) {
		require.True(t, there[name], name)
	}
}

// testsOf returns the names of all tests of the module.
func testsOf(t *testing.T) map[string]bool {
	names := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	require.NoError(t, fs.WalkDir(os.DirFS(root), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		source, err := os.ReadFile(filepath.Join(root, name))
		for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
			names[m[1]] = true
		}
		return err
	}))
	require.NotEmpty(t, names)
	return names
}
