/**
 * Which characters are escaped: protocol/src/visible/table.rs in the browser.
 *
 * Made from the Unicode data by the test `the_tables_are_those_of_the_unicode_data`. Two numbers for
 * each range, to the base of 36: how many characters lie between the last one and it, and how many it has.
 */

/** What is always escaped. */
export const HIDDEN =
  "0 w 2n y c 1 ia 2 1 2 a 1 10 1 3 2 4 1 1 4 3 1 3 1 1 1 k 1 b1 1 12 1 1k 1 1l 6 r 4 6 h m 1 5c 1 1c 2 1n 2 2t e " +
  "1n 2 1d 2 f 1 s 2 1 1 b 5 w 7 23 1 39 8 10 1 8 2 2 2 m 1 7 1 1 3 4 2 9 2 2 2 4 8 1 8 4 2 p 2 3 1 6 4 2 2 m 1 7 " +
  "1 1 2 1 2 2 2 1 1 5 4 2 2 3 3 1 a 1 9 h a 3 1 9 1 3 1 m 1 7 1 2 1 5 2 a 1 3 1 3 2 1 f 4 2 c 7 7 1 3 1 8 2 2 2 m " +
  "1 7 1 2 1 5 2 9 2 2 2 3 5 5 7 5 2 i a 2 1 6 3 3 1 4 3 2 1 1 1 2 3 2 3 3 3 c 4 5 3 3 1 4 2 1 6 1 e l 5 d 1 3 1 n " +
  "1 g 2 9 1 3 1 4 7 2 1 3 1 2 2 4 2 a 7 m 1 3 1 n 1 a 1 5 2 9 1 3 1 4 7 2 5 3 1 4 2 a 1 3 c d 1 3 1 1f 1 3 1 6 4 " +
  "g 2 q 1 3 1 i 3 o 1 9 1 1 2 7 3 1 4 6 1 1 1 8 6 a 2 3 c 1m 4 t 11 2 1 1 1 5 1 o 1 1 1 n 2 5 1 1 1 7 1 a 2 4 w " +
  "1v 1 4 1 4 1 4 1 4 1 4 1 c 1 3 4 2 1 1 2 1 1 8 1 h 1 4 1 4 1 4 1 4 1 4 1 c 1 3 1 f 1 d 11 5i 1 1 5 1 2 3z 2 6g " +
  "1 4 2 7 1 1 1 4 2 15 1 4 2 x 1 4 2 7 1 1 1 4 2 f 1 1l 1 4 2 1v 2 w 3 q 6 2e 2 6 2 hs 1 s 3 2h 7 m 9 o 9 k c d 1 " +
  "3 1 2 c 1g 2 14 2 a 6 a 6 b 5 a 6 2h 7 17 5 1y a v 1 c 4 c 4 1 3 16 2 5 b 18 4 q 6 b 3 1q 2 1t 1 t 2 b 6 a 6 e " +
  "2 1t f 25 1 4m 8 1o 3 f 3 1q 5 17 2 b 8 17 5 eu 2 6 2 12 2 6 2 8 1 1 1 1 1 1 1 i 1 1 1 1 1 1 1 1 1 1 1 1 3 1h 1 " +
  "5 1 2 1 6 1 3 1 1 1 7 3 5 2 6 1 7 1 2 4 3 1 3 1 1 1 1 1 1 h o 8 1b h 2 2 29 b x f 12 1 3 2 2o 4 bd 2 73 m b l " +
  "ps 1 kb 1 47 2 am 5 19 1 1 5 1 2 1k 7 2 f n 9 7 1 7 1 7 1 7 1 7 1 7 1 7 1 7 1 3i 2 4 s q 1 2h c 5y q g 1 1r 1 " +
  "2e 2 2v 5 17 1 1f 1 16 1 2e 9 1c 1 mlp 3 1j 9 9o k 54 8 66 4 1 e 1o 3 a 6 1k 8 1y 8 c 6 38 b u 3 26 1 b 4 x 1 " +
  "1j 9 e 2 a 2 2v o s a 6 2 6 2 6 9 7 1 7 1 1q 2 3i 2 a 6 8mc c n 4 1d 6qa 2 1 1 1 2 a 1 1 1 1 2 2 3 5y 7 c 5 6 1 " +
  "1 a 11 ht w g g a 6 1f 1 j 1 4 4 5 1 3r 4 4f 1 u 3 6 2 6 2 6 2 3 3 7 1 7 e 1 2 c 1 q 1 j 1 2 1 f 2 e y 3f 5 3 4 " +
  "19 3 2g 1 d 3 1 1b 1a 3m t 3 1d f s 4 10 9 u 5 17 5 u 1 11 4 e 16 4e 2 a 6 10 4 10 4 14 8 1g b c 1 f 1 7 1 2 1 " +
  "b 1 f 1 7 1 2 3 1g c 8n 9 m a 8 o 6 1 16 1 e 1s 6 2 1 1 18 1 2 3 1 2 n 1 20 8 9 1c j 1 2 5 x 3 r 5 r 12 1k 4 k " +
  "2 1e 1 2 5 8 1 3 1 t 2 3 4 a 7 9 7 1s w 13 4 c 9 1i 3 t 2 r 5 q 7 4 c 7 28 21 1j 1f d 1f 7 1a 8 a 6 12 3 t 8 2 " +
  "5s v 1 16 1 3 2 2 g 6 1 12 1 1k 8 16 m q 12 s k n 9 26 4 10 a 1p 1 5 d p 7 a 6 1h 1 i 8 13 9 2o 1 k b i 1 1b 1q " +
  "7 1 1 1 4 1 f 1 b 6 1n 5 a 6 4 1 8 2 2 2 m 1 7 1 2 1 5 1 a 2 2 2 3 2 1 6 1 5 7 2 7 3 5 b a 1 1 2 1 1 12 1 a 1 1 " +
  "2 1 1 4 1 a 1 2 8 2 t 2k 1 5 u 20 8 a 4m 1i 2 12 y 1x b a 6 d j 1m 6 a 6 k s r 2 f 4 n 55 1o 2s 2b c 8 2 1 2 8 " +
  "1 2 1 u 1 2 2 c 9 a 1y 8 2 1a 2 b r 20 8 2b d 21 7 b 2d 8 2g y e a 6 9 1 19 1 e a t 3 w 2 m 1 e 21 7 1 2 1 18 3 " +
  "1 1 2 1 9 8 a 6 6 1 2 1 11 1 2 1 6 7 a 6 18 4 a 6 2 6m p 7 h 1 15 3 t 2d 1 f 1e d pn 2u 90 c 8n 1s9 2r d ts 1c " +
  "32z 5 g7 5a1 1m 1c6 ft 7 v 1 a 4 29 1 a 6 u 2 6 a 1y a a 1 7 1 l 5 j c0 1m 5i 2j 5 p 2 p 18 23 4 1l 7 h 1s 4 c " +
  "7 9 5p7 10 y 2n 37 d pe e 1f 5y5 4 1 7 1 2 1 89 9 1 t 3 2 1 e 5 7 b0 1s4 2z 5 d 3 9 7 a 2 1 1 2 31c 71 3 c4 6 n " +
  "1 3 8 x 2 1a 2 n 9 38 1o 6u a 2h 1 4 7 e 8 1s 6 3p a 1e 1q k c k c 2f 9 p 3r 2d 1 1z 1 2 2 1 2 2 2 4 1 c 1 1 1 " +
  "7 1 1t 1 4 2 8 1 7 1 s 1 4 1 5 1 1 3 7 1 9h 1 84 2 ji f 5 1 f 28 t rn 3m e 7 1i 1m 1 h 2 7 1 2 1 5 5 1q x 1 34 " +
  "19 3 e 2 a 4 2 8w v h 1m 5 1 cw 16 5y 17 4 1 5c v 1 m 8 2 68 7 1 4 1 2 1 f 1 5h 2 g 15 24 4 a 4 2 lt 1w 24 1p " +
  "5e 4 1 r 1 2 1 1 2 1 1 a 1 4 1 1 1 1 6 1 4 1 1 1 1 1 1 3 1 2 1 1 2 1 1 1 1 1 1 1 1 1 1 2 1 1 2 4 1 7 1 4 1 4 1 " +
  "1 1 a 1 h 5 3 1 5 1 h 1g 2 7i 18 4 2s c f 2 f 1 f 1 11 a 4v 1j t d 18 4 9 7 2 e 6 4a re 2 h 3 d 3 64 4 c 4 s 4 " +
  "1k 8 a 6 14 8 u 2 c 4 2 e 9 13 9k 8 e 2 d 3 1z 1 1 3 i 1 d 3 c 5 43 1 2v sl wyo w 3dr 1 4ge 2 5rl f ha 3he 3t7 " +
  "5 6ju upy 8qo ia4g";

/** What is drawn onto, or composed with, the character before it. */
export const ATTACHED =
  "lc 1s 2 1 2 a 1 w 7n 7 7b 19 1 1 1 2 1 2 1 3 1y b 1c l g 1 2t 7 2 6 2 2 1 4 z 1 u r 2j b 1m 9 9 1 o 4 1 9 1 3 1 " +
  "5 17 3 1n 9 16 o 1 x 1i 3 1 i 1 7 a 2 t 3 1k 1 1 7 2 2 2 3 9 1 a 2 q 1 2 3 1k 1 1 5 4 2 2 3 3 1 u 2 3 1 b 3 1k " +
  "1 1 8 1 3 1 3 k 2 m 6 1 3 1k 1 1 7 2 2 2 3 5 5 a 2 u 1 1n 5 3 3 1 4 9 1 14 5 1j 1 1 7 1 3 1 4 7 2 b 2 t 3 1k 1 " +
  "1 7 1 3 1 4 7 2 b 2 f 1 c 4 1j 2 1 7 1 3 1 4 9 1 a 2 t 3 1y 1 4 6 1 1 1 8 i 2 1p 1 2 7 c 8 2q 1 2 9 b 7 21 2 r " +
  "1 1 1 1 1 4 2 1d 2 1 1 2 1 1 8 1 3 1 2 5 6 1 4 1 4 1 4 1 4 1 4 1 c 1 3 9 1 2s k n 4 4 3 1 3 2 7 3 4 d c 1 1 a 4 " +
  "5f l 1e r be 3 qa 4 s 3 t 2 u 2 1u u 9 1 4n 2 y 1 3a c 4 c 63 5 1l a 1 t 2 1 1c 1t f 5 1b h 12 9 c 3 u d 1k e " +
  "1c k 48 3 1 l 4 1 6 1 2 3 5i 1s k0 x 2da 3 6m w fe 6 2x 2 n9w 4 1 a w 2 28 2 7k 1 3 1 4 1 n 5 4 1 2b 2 1e i q i " +
  "d 1 12 8 p d 18 4 1b e 10 1 1v e c 1 8 2 19 3 1e 1 1 3 2 2 5 2 1 1 15 5 5 2 6k 8 1 2 fn4 1 ld g r1 1 6a 1 45 5 " +
  "1ae 3 1 2 5 4 14 3 4 1 4l 2 fx 4 1t 5 8t 2 u 5 w g 1y b 1d 4 3e 3 1h f 15 1 2 2 b 3 19 b 7 1 1p 3 10 e g 2 18 1 " +
  "c 3 1c e 8 4 1 2 2k c 6 1 2 1 4d c l 4 1j 2 1 7 2 2 2 3 9 1 a 2 2 7 3 5 1v 9 1 1 2 1 1 4 1 5 1 1 e 2 2a i n 1 " +
  "29 k 6j 7 2 9 r 2 2a h 2y d 2t f 74 f 6t 6 1 2 2 4 1 1 1 2 3x 7 2 7 3 1 s a 14 7 1 4 8 1 9 b 1a g 5i 8 5j 8 1 8 " +
  "2a m 1 e 3e 6 3 1 1 2 1 7 1 1 1u 5 1 2 1 5 2g 1 76 4 9 2 1 1 1c 7 3 5 n 1 czn i 1xc 5 1n 7 fk 1 dj 1 1 1j 7 4 " +
  "2l 2 f58 1 3mp 1a 2 n dc 2 1o 5 3 6 8 8 2 7 u 4 44 3 b 3 8 2 2 1 w 2 1ha 1j 4 1e 8 1 e 1 m 5 1 f 11s 7 1 h 2 7 " +
  "1 2 1 5 2s 1 4g 7 af 1 1p 4 e4 4 72 2 6r 1 2 1 7 2 5 1 d6 7 31 7";
