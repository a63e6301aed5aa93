// What kube-proxy calls as nft: all but one of its questions go to Debian's.
//
// nft 1.0.6 lists a map's elements without their comments, by which kube-proxy would know them as its own. At its
// hourly full sync, and when it restarts, it then deletes every one as a leftover, and no Service answers any more.
// Refused that list, it flushes the map and writes it anew, in one transaction.
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv) {
  if (argc > 3 && !strcmp(argv[1], "--json") && !strcmp(argv[2], "list") && (!strcmp(argv[3], "map") || !strcmp(argv[3], "set"))) {
    fputs("Error: elements are not listed here\n", stderr);
    return 1;
  }
  execv("/usr/sbin/nft-debian", argv);
  perror("nft-debian");
  return 127;
}
