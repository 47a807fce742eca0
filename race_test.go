//go:build race

package braidlog

// racing: the race detector is on, and everything takes several times as long.
// What is done over and over is then done less often.
const racing = true
