// Package planted puts known bugs into braidlog, one at a time, and shows that
// some check finds each. A check that finds none of them is worth nothing; a
// bug that no check finds says where one is missing.
//
// Nothing in the source tree is changed: the compiler is given other contents
// for one file.
package planted

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// Shows says what it takes for a bug to show.
type Shows string

// What it takes.
const (
	Always   Shows = "always"
	Crash    Shows = "after a crash"
	Failure  Shows = "after an error"
	Schedule Shows = "in some schedules"
	Damage   Shows = "after damage"
)

// A Bug is a change to one file, and the tests that find it.
type Bug struct {
	Name     string
	Shows    Shows
	File     string // from the root of the module
	Old, New string // Old stands there once
	Package  string // whose tests find it, from the root of the module
	Tests    string // their names, as go test -run has them
}

// An Outcome is what became of a bug.
type Outcome struct {
	Bug    Bug
	Caught bool
	Took   time.Duration // the tests, without compiling them
	Said   string        // what they said first
}

// atMost is how long the tests may take to find a bug.
const atMost = time.Minute

// Plant puts each bug into the module at root, as many at a time as there are
// processors, and calls told with each outcome. An error says that a bug could
// not be planted or a test not be run, which proves nothing either way.
func Plant(ctx context.Context, root string, bugs []Bug, told func(Outcome)) error {
	work, err := os.MkdirTemp("", "braidlog-planted-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		errs []error
		next = make(chan int)
	)
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := range next {
				o, err := bugs[i].plant(ctx, root, filepath.Join(work, fmt.Sprint(i)))
				mu.Lock()
				if err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", bugs[i].Name, err))
				} else {
					told(o)
				}
				mu.Unlock()
			}
		})
	}
	for i := range bugs {
		if ctx.Err() == nil {
			next <- i
		}
	}
	close(next)
	all.Wait()
	return errors.Join(ctx.Err(), errors.Join(errs...))
}

// plant builds and runs the tests with the bug in place, in the directory work.
func (b Bug) plant(ctx context.Context, root, work string) (Outcome, error) {
	if err := os.Mkdir(work, 0o700); err != nil {
		return Outcome{}, err
	}
	overlay, err := b.overlay(root, work)
	if err != nil {
		return Outcome{}, err
	}
	program := filepath.Join(work, "test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", program, "./"+b.Package) // #nosec G204 -- from the list of bugs
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return Outcome{}, fmt.Errorf("build its tests: %w: %s", err, out)
	}
	return b.run(ctx, program, filepath.Join(root, b.Package))
}

// overlay writes the file with the bug, and tells the compiler of it.
func (b Bug) overlay(root, work string) (name string, err error) {
	file := filepath.Join(root, b.File)
	was, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	now, err := b.apply(was)
	if err != nil {
		return "", err
	}
	spoiled := filepath.Join(work, "spoiled.go")
	if err = os.WriteFile(spoiled, now, 0o600); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{file: spoiled}})
	if err != nil {
		return "", err
	}
	name = filepath.Join(work, "overlay.json")
	return name, os.WriteFile(name, list, 0o600)
}

// apply returns the file with the bug in it.
func (b Bug) apply(source []byte) ([]byte, error) {
	if n := bytes.Count(source, []byte(b.Old)); n != 1 {
		return nil, fmt.Errorf("%s has the place %d times, want once: %q", b.File, n, b.Old)
	}
	return bytes.Replace(source, []byte(b.Old), []byte(b.New), 1), nil
}

// run runs the tests in the package's directory. They catch the bug by failing
// or panicking. Not to end in time proves nothing.
func (b Bug) run(ctx context.Context, program, dir string) (Outcome, error) {
	began := time.Now()
	cmd := exec.CommandContext(ctx, program, "-test.run", b.Tests, "-test.failfast", "-test.timeout", atMost.String()) // #nosec G204 -- what was just built
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	o := Outcome{Bug: b, Took: time.Since(began), Said: firstFailure(string(out))}
	var failed *exec.ExitError
	switch {
	case err == nil && strings.Contains(string(out), "no tests to run"):
		return o, fmt.Errorf("%s has no test %s", b.Package, b.Tests)
	case err == nil:
		return o, nil
	case ctx.Err() != nil || !errors.As(err, &failed):
		return o, fmt.Errorf("run its tests: %w", err)
	}
	o.Caught = !strings.HasPrefix(o.Said, "panic: test timed out")
	return o, nil
}

// firstFailure returns the name of the first test that failed.
func firstFailure(out string) string {
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			return strings.TrimSpace(name)
		}
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
